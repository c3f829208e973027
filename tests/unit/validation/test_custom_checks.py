"""Checks of the project's own: what they are given, what they may say, and what becomes of those that fail."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.project import Project

from thinker.data.dataset_files import DatasetFiles
from thinker.errors import ConfigError
from thinker.tasks.prompt_completion import PromptCompletion
from thinker.validation.checks.custom import custom_checks
from thinker.validation.codes import levels
from thinker.validation.plugin_calls import PluginError
from thinker.validation.preflight import Check, run_preflight
from thinker.validation.problems import Problem
from thinker.validation.report import Report

CHECKS = """
from collections import Counter


def no_shouting(row):
    for field in ("prompt", "completion"):
        if row[field].isupper():
            yield field, "in capitals"


def polite(row):
    return None if "please" in row["prompt"] else "does not say please"


class Balanced:
    def __init__(self):
        self.counts = Counter()

    def row(self, row):
        self.counts[row["completion"]] += 1

    def finish(self):
        (word, count), = self.counts.most_common(1)
        if count > 2:
            return f"{count} rows answer {word}"


class OnlyAtTheEnd:
    def finish(self):
        return [("completion", "one"), "two"]


def spoils(row):
    row["prompt"] = "SPOILT"
    row["metadata"]["tags"].clear()


def fails(row):
    return row["lost"]


class FailsAtTheEnd:
    def finish(self):
        return 1 / 0


class Nothing:
    pass
"""
ROWS = [
    {"prompt": "please a", "completion": "yes", "metadata": {"tags": ["x"]}},
    {"prompt": "please B", "completion": "NO", "metadata": {"tags": ["x"]}},
    {"prompt": "C", "completion": "yes", "metadata": {"tags": ["x"]}},
]


def line_of(source: str) -> int:
    """Where `source` stands in the module."""
    return CHECKS[: CHECKS.index(source)].count("\n") + 1


@pytest.fixture
def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Checks of the module above, by name."""
    (tmp_path / "own_checks.py").write_text(CHECKS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_checks", raising=False)
    return lambda *names: custom_checks([f"own_checks:{name}" for name in names])


def run(
    folder: Path,
    active: Sequence[Check],
    rows: Sequence[Mapping[str, Any]] = ROWS,
    off: Mapping[str, Any] | None = None,
) -> list[Problem]:
    dataset = folder / "train.jsonl"
    dataset.write_text("\n" + "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    files = DatasetFiles((dataset,))
    report = Report(files, levels(off or {}))
    run_preflight(files, PromptCompletion(), active, report, expected_sha256=files.sha256())
    return list(report.errors)


def told(problems: Sequence[Problem]) -> list[tuple[int | None, str, str, str]]:
    return [(each.line, each.field, each.code, each.message) for each in problems]


def test_a_function_tells_line_field_and_value(tmp_path: Path, checks: Callable[..., list[Any]]) -> None:
    problems = run(tmp_path, checks("no_shouting"))
    assert told(problems) == [
        (3, "completion", "THK-DATA-100", "own_checks:no_shouting: in capitals"),
        (4, "prompt", "THK-DATA-100", "own_checks:no_shouting: in capitals"),
    ]
    assert [problem.excerpt for problem in problems] == ['"NO"', '"C"']


def test_a_text_without_field_is_about_the_row(tmp_path: Path, checks: Callable[..., list[Any]]) -> None:
    problems = run(tmp_path, checks("polite"))
    assert told(problems) == [(4, "", "THK-DATA-100", "own_checks:polite: does not say please")]
    assert problems[0].file == str(tmp_path / "train.jsonl")


def test_a_class_sees_every_row_and_speaks_at_the_end(tmp_path: Path, checks: Callable[..., list[Any]]) -> None:
    assert run(tmp_path, checks("Balanced")) == []
    problems = run(tmp_path, checks("Balanced"), ROWS + ROWS)
    assert told(problems) == [(None, "", "THK-DATA-101", "own_checks:Balanced: 4 rows answer yes")]


def test_a_class_may_do_without_rows(tmp_path: Path, checks: Callable[..., list[Any]]) -> None:
    assert told(run(tmp_path, checks("OnlyAtTheEnd"))) == [
        (None, "completion", "THK-DATA-101", "own_checks:OnlyAtTheEnd: one"),
        (None, "", "THK-DATA-101", "own_checks:OnlyAtTheEnd: two"),
    ]


def test_several_checks_report_in_file_order(tmp_path: Path, checks: Callable[..., list[Any]]) -> None:
    problems = run(tmp_path, checks("polite", "no_shouting", "Balanced"))
    assert [(each.line, each.message.split(":")[1]) for each in problems] == [
        (3, "no_shouting"), (4, "polite"), (4, "no_shouting"),
    ]  # fmt: skip


def test_a_check_cannot_change_what_others_see(tmp_path: Path, checks: Callable[..., list[Any]]) -> None:
    alone = told(run(tmp_path, checks("no_shouting", "polite")))
    assert told(run(tmp_path, checks("spoils", "no_shouting", "polite"))) == alone


def test_both_codes_off_means_that_nothing_of_it_runs(tmp_path: Path, checks: Callable[..., list[Any]]) -> None:
    both = {"THK-DATA-100": "off", "THK-DATA-101": "off"}
    assert run(tmp_path, checks("fails", "FailsAtTheEnd"), off=both) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "fails",
            r"^{folder}/train.jsonl:2: check 'own_checks:fails' fails: KeyError: 'lost' \(own_checks.py:{fails}\)",
        ),
        ("FailsAtTheEnd", r"^check 'own_checks:FailsAtTheEnd' fails: ZeroDivisionError: .*\(own_checks.py:{ends}\)"),
    ],
)
def test_an_exception_names_check_and_place(
    tmp_path: Path, checks: Callable[..., list[Any]], name: str, message: str
) -> None:
    with pytest.raises(
        PluginError, match=message.format(folder=tmp_path, fails=line_of('["lost"]'), ends=line_of("1 / 0"))
    ):
        run(tmp_path, checks(name))


def test_what_is_no_check_is_refused(checks: Callable[..., list[Any]]) -> None:
    with pytest.raises(ConfigError, match="check 'own_checks:Nothing' is neither a function of a row nor a class with"):
        checks("Nothing")


class TestInTheGate:
    def configured(self, project: Project, *names: str) -> None:
        checks = [f"project_checks:{name}" for name in names]
        project.write("project_checks.py", CHECKS)
        project.replace("pipeline.yaml", "  path: data/train.jsonl\n", f"  path: data/train.jsonl\n"
                        f"  custom_checks: {checks}\n")  # fmt: skip

    @pytest.fixture(autouse=True)
    def _fresh(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "path", sys.path[:])
        monkeypatch.delitem(sys.modules, "project_checks", raising=False)

    def test_a_module_beside_the_pipeline_file_is_found_and_its_errors_stop_the_run(
        self, project: Project, capfd: pytest.CaptureFixture[str]
    ) -> None:
        self.configured(project, "polite")
        assert project.run_here("validate", "-q") == 4
        said = capfd.readouterr().err
        assert "train.jsonl:1: project_checks:polite: does not say please (THK-DATA-100)" in said
        assert project.record()["validation"]["dataset"]["counts_by_code"]["THK-DATA-100"] == 10

    def test_a_check_that_fails_is_one_line_and_exit_code_2(
        self, project: Project, capfd: pytest.CaptureFixture[str]
    ) -> None:
        self.configured(project, "fails")
        assert project.run_here("validate", "-q") == 2
        said = capfd.readouterr().err
        assert said.startswith("[thinker] error: ")
        assert "train.jsonl:1: check 'project_checks:fails' fails: KeyError: 'lost' (project_checks.py:" in said
        assert "Traceback" not in said

    def test_one_that_cannot_be_loaded_stops_the_run_before_the_test_suite(
        self, project: Project, capfd: pytest.CaptureFixture[str]
    ) -> None:
        self.configured(project, "lost")
        assert project.run_here("validate") == 2
        shown = capfd.readouterr()
        assert "check 'project_checks:lost': cannot load" in shown.err
        assert "passed" not in shown.out

    def test_training_reads_the_file_not_what_a_check_made_of_a_row(self, project: Project) -> None:
        rows = [{"prompt": f"p{n}\n", "completion": "c", "metadata": {"tags": ["x"]}} for n in range(4)]
        project.write("data/train.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        assert project.run_here("run", "--dry-run", "--no-probe", "-q") == 0
        plain = project.record()["plan"]
        self.configured(project, "spoils")
        assert project.run_here("run", "--dry-run", "--no-probe", "-q") == 0
        assert project.record()["plan"] == plain
