"""A gate that passed does not run again until something changes on which its verdict rests, and then says what."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import jsonschema
import pytest
from support.project import Project, make_project

import thinker
from thinker.config import load_experiment
from thinker.hashing import sha256_file
from thinker.runs.schema import record_schema
from thinker.tasks.prompt_completion import PromptCompletion
from thinker.validation import known_verdicts
from thinker.validation.known_verdicts import KnownVerdicts

Capture = pytest.CaptureFixture[str]

SUITE = """
# a comment
from pathlib import Path

import helper

ROOT = Path(__file__).parents[1]

def test_reads(limits):
    assert limits["rows"] >= 10
    assert helper.ANSWER == 42
    assert (ROOT / "data/read.txt").read_text()
    assert list((ROOT / "data/facts").glob("*.txt"))

def test_writes():
    (ROOT / "made.txt").write_text("x")
    assert (ROOT / "made.txt").read_text() == "x"
"""
CONFTEST = """
# a comment
import json
from pathlib import Path

import pytest

@pytest.fixture
def limits():
    return json.loads((Path(__file__).parent / "limits.json").read_text())
"""
SCHEMA = '{"title": "rows", "type": "object", "required": ["prompt"]}'


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A project with inputs of many kinds, whose gate has passed. Copy it; do not write to it."""
    root = tmp_path_factory.mktemp("passed") / "project"
    project = make_project(root, Path("models/tiny"))
    shutil.copytree(tiny_model, root / "models/tiny", ignore=shutil.ignore_patterns("*.safetensors"))
    for name, text in {
        "tests/test_data.py": SUITE,
        "tests/conftest.py": CONFTEST,
        "tests/limits.json": '{"rows": 10}',
        "conftest.py": "# a comment\n",
        # Without what takes pytest longest.
        "pytest.ini": "[pytest]\naddopts = -p no:cacheprovider -p no:unraisableexception\n# a comment\n",
        "helper.py": "# a comment\nANSWER = 42\n",
        "data/read.txt": "read by a test",
        "data/unread.txt": "read by nobody",
        "data/facts/one.txt": "its folder is listed by a test",
        "declared/a.csv": "read by some other program",
        "rows.schema.json": SCHEMA,
    }.items():
        project.write(name, text)
    project.replace("pipeline.yaml", '  args: ["-q"]\n', '  args: ["-q"]\n  inputs: ["declared/*.csv"]\n')
    project.replace("pipeline.yaml", "data_validation:\n", "data_validation:\n  schema: rows.schema.json\n")
    assert project.run_here("validate", "-q") == 0
    return root


@pytest.fixture
def gated(passed: Path, tmp_path: Path) -> Project:
    """The project of `passed`, moved."""
    return Project(shutil.copytree(passed, tmp_path / "moved"))


def why(project: Project, capfd: Capture, *args: str) -> str | None:
    """Why `thinker validate` ran the gate; None if it did not."""
    capfd.readouterr()
    assert project.run_here("validate", *args) == 0
    said = capfd.readouterr()
    reasons = [line.partition("gate: runs, because ")[2] for line in said.err.splitlines() if "gate: runs" in line]
    assert bool(reasons) == ("passed in" in said.out), "pytest shows what it ran"
    assert bool(reasons) != ("tests and checks not run again" in said.err)
    return reasons[0] if reasons else None


def receipts(project: Project) -> list[Path]:
    return sorted((project.root / ".thinker/receipts").glob("*.json"))


# One byte of a file


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("data/train.jsonl", "Paris", "paris"),
        ("data/eval.jsonl", "Accra", "accra"),
        ("rows.schema.json", "rows", "Rows"),
        ("tests/test_data.py", "comment", "Comment"),
        ("tests/conftest.py", "comment", "Comment"),
        ("tests/limits.json", "10", "11"),
        ("conftest.py", "comment", "Comment"),
        ("pytest.ini", "comment", "Comment"),
        ("helper.py", "comment", "Comment"),
        ("data/read.txt", "read", "Read"),
        ("declared/a.csv", "read", "Read"),
        ("models/tiny/tokenizer.json", "\n", " "),
        ("models/tiny/tokenizer_config.json", "\n", " "),
        ("models/tiny/chat_template.jinja", "assistant", "Assistant"),
    ],
)
def test_one_flipped_byte_of_an_input_runs_the_gate_and_is_named(
    gated: Project, capfd: Capture, name: str, old: str, new: str
) -> None:
    before = (gated.root / name).stat()
    gated.replace(name, old, new)
    os.utime(gated.root / name, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (gated.root / name).stat().st_size == before.st_size
    assert why(gated, capfd) == f"{name} changed"
    assert why(gated, capfd) is None


def test_claims_and_corpus_are_inputs_and_each_is_named(project: Project, capfd: Capture) -> None:
    sample = Path(__file__).parents[2] / "examples/scifact/data"
    for name in ("train", "claims_heldout", "corpus"):
        shutil.copy(sample / f"{name}.jsonl", project.root / "data")
    project.replace("pipeline.yaml", "task: prompt_completion", "task: scifact_claims")
    files = "claims_file: data/claims_heldout.jsonl\n  corpus_file: data/corpus.jsonl"
    project.replace("pipeline.yaml", "data_file: data/eval.jsonl", files)
    project.replace("lora.yaml", "max_seq_length: 128", "max_seq_length: 10000")
    assert why(project, capfd) == "there is no receipt yet"
    project.replace("data/claims_heldout.jsonl", '"claim": "', '"claim": "x')
    assert why(project, capfd) == "data/claims_heldout.jsonl changed"
    project.replace("data/corpus.jsonl", '"title": "', '"title": "x')
    assert why(project, capfd) == "data/corpus.jsonl changed"
    assert why(project, capfd) is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("tests/test_more.py", "tests/test_more.py is new"),
        ("tests/data/more.json", "tests/data/more.json is new"),
        ("declared/b.csv", "declared/b.csv is new"),
        ("data/facts/two.txt", "data/facts/ holds other files"),
        ("tox.ini", "tox.ini is new"),
    ],
)
def test_a_file_that_the_suite_would_find_runs_the_gate(gated: Project, capfd: Capture, name: str, reason: str) -> None:
    gated.write(name, "")
    assert why(gated, capfd) == reason


def test_a_file_that_is_gone_runs_the_gate(gated: Project, capfd: Capture) -> None:
    gated.write("tests/test_more.py", "def test_more(): pass\n")
    gated.write("declared/b.csv", "")
    assert why(gated, capfd) == "declared/b.csv is new, tests/test_more.py is new"
    (gated.root / "tests/test_more.py").unlink()
    (gated.root / "declared/a.csv").unlink()
    assert why(gated, capfd) == "declared/a.csv is no longer there, tests/test_more.py is no longer there"


# Settings and programs


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("model.prompt_format=chat", "model.prompt_format was raw, is chat"),
        ("training.max_seq_length=64", "training.max_seq_length was 128, is 64"),
        ("training.on_overlong=drop", "training.on_overlong was error, is drop"),
        ("training.claim_c1_weight=0.5", "training.claim_c1_weight was 1.0, is 0.5"),
        ("training.evidence_weight=2", "training.evidence_weight was 1.0, is 2.0"),
    ],
)
def test_a_setting_of_the_encoding_runs_the_gate_and_is_named(
    gated: Project, capfd: Capture, setting: str, reason: str
) -> None:
    assert why(gated, capfd, "--set", setting) == reason


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("training.num_epochs=3", "training.num_epochs was 2.0, is 3.0"),
        ("training.max_steps=3", "training.max_steps was not set, is 3"),
        ("training.warmup_steps=1", "training.warmup_steps was 0, is 1"),
        ("training.per_device_batch_size=1", "training.per_device_batch_size was 2, is 1"),
        ("data.validation_split=0.2", "data.validation_split was 0.0, is 0.2"),
        ("data.seed=8", "data.seed was 7, is 8"),
        ("pipeline.tests.args=[-v]", 'tests.args was ["-q"], is ["-v"]'),
        ("pipeline.tests.markers=not slow", "tests.markers was not set, is not slow"),
        ("pipeline.data_validation.max_examples=9", "data_validation.max_examples was not set, is 9"),
        (
            "pipeline.data_validation.checks.THK-DATA-041=error",
            "data_validation.checks.THK-DATA-041 was not set, is error",
        ),
    ],
)
def test_every_other_setting_that_the_verdict_rests_on_is_a_reason_too(passed: Path, setting: str, reason: str) -> None:
    experiment = load_experiment(passed / "pipeline.yaml", overrides=[setting])
    known = KnownVerdicts(experiment, PromptCompletion())
    assert known.standing() is None
    assert known.reason() == reason


def test_each_field_of_a_schema_is_an_input_of_its_own(gated: Project, capfd: Capture) -> None:
    fields = "pipeline.data_validation.schema=[{name: completion}, {name: prompt, type: string, max_length: %d}]"
    assert why(gated, capfd, "--set", fields % 500) is not None
    reason = why(gated, capfd, "--set", fields % 400)
    assert reason == (
        'data_validation.schema.prompt was {"type": "string", "max_length": 500}, '
        'is {"type": "string", "max_length": 400}'
    )


def test_what_pytest_takes_from_the_environment_is_an_input(
    gated: Project, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--strict-markers")
    assert why(gated, capfd) == "environment PYTEST_ADDOPTS was not set, is --strict-markers"


def test_another_version_of_thinker_runs_the_gate(
    gated: Project, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thinker, "__version__", "99.9")
    reason = why(gated, capfd)
    assert reason is not None
    assert reason.startswith("thinker was ")
    assert ", is 99.9 (" in reason


def test_versions_of_packages_that_the_suite_imports_are_inputs(project: Project) -> None:
    project.write("tests/test_data.py", "import numpy\n\ndef test_passes(): pass\n")
    assert project.thinker("validate", "-q").returncode == 0
    inputs = json.loads(project.thinker("validate", "--explain", "--json").stdout)["inputs"]
    versions = {each["name"]: each["value"] for each in inputs if each["kind"] == "version"}
    assert versions["numpy"] == importlib.metadata.version("numpy")
    assert versions["pytest"] == importlib.metadata.version("pytest")


def test_a_chat_template_that_writes_the_day_makes_it_an_input(
    gated: Project, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    gated.replace("models/tiny/chat_template.jinja", "assistant", "assistant {{ strftime_now('%d') }}")
    assert why(gated, capfd, "--set", "model.prompt_format=chat") is not None
    assert why(gated, capfd, "--set", "model.prompt_format=chat") is None
    today, tomorrow = date.today(), date.today() + timedelta(days=1)
    monkeypatch.setattr(known_verdicts, "date", Mock(today=lambda: tomorrow))
    assert why(gated, capfd, "--set", "model.prompt_format=chat") == f"day was {today}, is {tomorrow}"


def test_all_that_changed_is_named_at_once(gated: Project, capfd: Capture) -> None:
    gated.replace("data/train.jsonl", "Paris", "paris")
    gated.replace("tests/test_data.py", "comment", "Comment")
    reason = why(gated, capfd, "--set", "training.max_seq_length=64")
    assert reason == "data/train.jsonl changed, tests/test_data.py changed, training.max_seq_length was 128, is 64"


def test_the_code_of_plugins_is_an_input_with_the_modules_that_it_imports(project: Project) -> None:
    task = "from thinker.tasks.prompt_completion import PromptCompletion\n\nclass Own(PromptCompletion): pass\n"
    project.write("own_task.py", f"import own_helper\n{task}")
    project.write("own_helper.py", "")
    project.write("own_check/__init__.py", "from .rows import check as check\n")
    project.write("own_check/rows.py", "def check(row): return None\n")
    project.write("own_validator.py", "def check(value): return None\n")
    project.replace("pipeline.yaml", "task: prompt_completion", "task: own_task:Own")
    schema = "[{name: completion, validator: 'own_validator:check'}]"
    project.replace("pipeline.yaml", "  path: data/train.jsonl",
                    f"  path: data/train.jsonl\n  custom_checks: ['own_check:check']\n  schema: {schema}")  # fmt: skip
    assert "there is no receipt yet" in project.thinker("validate").stderr
    for name in ("own_task.py", "own_helper.py", "own_check/rows.py", "own_validator.py"):
        path = project.root / name
        path.write_text(path.read_text(encoding="utf-8") + "# other\n", encoding="utf-8")
        assert f"gate: runs, because {name} changed\n" in project.thinker("validate").stderr
    assert "gate: passed before" in project.thinker("validate").stderr


# What changes nothing


def test_moving_the_project_runs_nothing(gated: Project, capfd: Capture) -> None:
    assert why(gated, capfd) is None


def test_comments_order_and_defaults_written_out_run_nothing(gated: Project, capfd: Capture) -> None:
    for name in ("pipeline.yaml", "lora.yaml"):
        gated.replace(name, "\n\n", "\n# a comment\n\n")
    gated.replace("lora.yaml", "  num_epochs: 2\n  max_seq_length: 128\n",
                  "  max_seq_length: 128  # tokens\n  num_epochs: 2.0\n  on_overlong: error\n")  # fmt: skip
    gated.replace("pipeline.yaml", "  schema: rows.schema.json\n  path:", "  checks: {}\n  path:")
    gated.replace("pipeline.yaml", "data/train.jsonl\n", "data/train.jsonl\n  schema: rows.schema.json\n")
    assert why(gated, capfd) is None


def test_touching_every_file_runs_nothing(gated: Project, capfd: Capture) -> None:
    for path in gated.root.rglob("*"):
        path.touch()
    assert why(gated, capfd) is None


@pytest.mark.parametrize(
    "setting",
    ["training.learning_rate=0.5", "lora.r=2", "output.checkpoint_dir=elsewhere", "pipeline.evaluation.temperature=0.5",
     "pipeline.evaluation.max_samples=1", "pipeline.evaluation.output_path=other.jsonl", "pipeline.runs_dir=other"],
)  # fmt: skip
def test_what_says_nothing_about_the_data_is_no_reason(passed: Path, setting: str) -> None:
    experiment = load_experiment(passed / "pipeline.yaml", overrides=[setting])
    assert KnownVerdicts(experiment, PromptCompletion()).standing() is not None


def test_files_that_nobody_reads_run_nothing(gated: Project, capfd: Capture) -> None:
    gated.replace("data/unread.txt", "read", "Read")
    gated.write("data/new.txt", "x")
    gated.replace("made.txt", "x", "the suite's own work")
    assert why(gated, capfd) is None


def test_the_current_folder_runs_nothing(gated: Project, capfd: Capture, tmp_path: Path) -> None:
    shutil.move(gated.root / "pipeline.yaml", gated.root / "moved.yaml")
    shutil.move(gated.root / "moved.yaml", gated.root / "pipeline.yaml")
    (tmp_path / "elsewhere").mkdir()
    config = str(gated.root / "pipeline.yaml")
    assert why(Project(tmp_path / "elsewhere"), capfd, "--config", config) is None


# What a receipt is worth


def test_a_command_that_accepts_a_receipt_records_it_and_what_passed_then(gated: Project) -> None:
    assert gated.run_here("validate", "-q") == 0
    record = gated.record()
    jsonschema.validate(record, record_schema())
    (receipt,) = receipts(gated)
    validation = record["validation"]
    assert validation["receipt"]["path"] == f".thinker/receipts/{receipt.name}"
    assert validation["receipt"]["digest"] == record["digests"]["gate"] == receipt.stem
    assert validation["receipt"]["reused"] is True
    assert (validation["pytest"], validation["tests"]["passed"]) == ("passed", 2)
    assert (validation["dataset"]["rows"], validation["dataset"]["errors"]) == (10, 0)
    assert validation["dataset"]["path"] == "data/train.jsonl"
    assert "pytest_output" not in record["artifacts"]


def test_the_run_in_which_the_gate_passed_records_its_receipt(project: Project) -> None:
    assert project.run_here("validate", "-q") == 0
    found = project.record()["validation"]["receipt"]
    (receipt,) = receipts(project)
    assert (found["digest"], found["reused"]) == (receipt.stem, False)
    statement = json.loads(receipt.read_text(encoding="utf-8"))
    assert statement["predicate"]["passedTests"][0] == "tests/test_data.py::test_passes"
    assert [each["name"] for each in statement["subject"]] == ["data/train.jsonl"]


def test_every_command_that_needs_the_gate_accepts_the_receipt(project: Project, capfd: Capture) -> None:
    assert project.run_here("validate") == 0
    for command in (["train"], ["eval"], ["run"], ["run", "--dry-run", "--no-probe"]):
        capfd.readouterr()
        assert project.run_here(*command) == 0
        said = capfd.readouterr()
        assert "gate: passed before" in said.err
        assert "passed in" not in said.out
        assert project.record()["validation"]["receipt"]["reused"] is True
    assert len(receipts(project)) == 1


def test_force_runs_the_gate_whatever_there_is(gated: Project, capfd: Capture) -> None:
    assert why(gated, capfd, "--force") == "of --force"
    assert why(gated, capfd) is None


@pytest.mark.parametrize("command", ["train", "eval", "run"])
def test_force_and_skipping_exclude_each_other(gated: Project, capfd: Capture, command: str) -> None:
    assert gated.run_here(command, "--force", "--skip-validation") == 2
    assert "--force and --skip-validation exclude each other" in capfd.readouterr().err


def test_warnings_of_an_accepted_gate_are_said_again(project: Project, capfd: Capture) -> None:
    path = project.root / "data/train.jsonl"
    path.write_text(path.read_text(encoding="utf-8") + "\n\n", encoding="utf-8")
    assert why(project, capfd) == "there is no receipt yet"
    warned = project.record()["validation"]["dataset"]
    (receipt,) = receipts(project)
    predicate = json.loads(receipt.read_text(encoding="utf-8"))["predicate"]
    assert predicate["result"] == "WARNED"
    assert "dataset THK-DATA-041" in predicate["warnedTests"]
    capfd.readouterr()
    assert project.run_here("validate") == 0
    assert f"gate: {warned['warnings']} warnings about the dataset, as in run " in capfd.readouterr().err
    assert project.record()["validation"]["dataset"]["counts_by_code"] == warned["counts_by_code"]


def test_a_disabled_suite_is_on_the_receipt_and_is_said_each_time(project: Project, capfd: Capture) -> None:
    project.replace("pipeline.yaml", "  path: tests\n", "  enabled: false\n")
    for reused in (False, True):
        capfd.readouterr()
        assert project.run_here("validate") == 0
        assert "tests: disabled" in capfd.readouterr().err
        validation = project.record()["validation"]
        assert (validation["pytest"], validation["tests"]) == ("disabled", None)
        assert validation["receipt"]["reused"] is reused


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [("tests/test_data.py", "def test_fails(): assert False\n", 3), ("data/train.jsonl", "{}\n", 4)],
)
def test_a_gate_that_fails_leaves_no_receipt(project: Project, name: str, text: str, code: int) -> None:
    project.write(name, text)
    assert project.run_here("validate", "-q") == code
    assert receipts(project) == []
    assert project.record()["validation"]["receipt"] is None


def test_a_receipt_that_was_tampered_with_is_named_and_passed_over(gated: Project, capfd: Capture) -> None:
    (receipt,) = receipts(gated)
    statement = json.loads(receipt.read_text(encoding="utf-8"))
    gated.replace("data/train.jsonl", "Paris", "paris")
    files = statement["predicate"]["thinker_gate"]["inputs"]["files"]
    files["data/train.jsonl"] = sha256_file(gated.root / "data/train.jsonl")
    receipt.write_text(json.dumps(statement), encoding="utf-8")
    capfd.readouterr()
    assert gated.run_here("validate") == 0
    said = capfd.readouterr().err
    assert f"warning: receipt {receipt} is passed over: it was altered" in said
    assert "gate: runs, because there is no receipt yet" in said


def test_receipts_of_several_configurations_live_side_by_side(gated: Project, capfd: Capture) -> None:
    for setting in ("training.max_seq_length=64", "training.max_seq_length=32"):
        assert why(gated, capfd, "--set", setting) is not None
    for setting in ("training.max_seq_length=64", "training.max_seq_length=32", "training.max_seq_length=128"):
        assert why(gated, capfd, "--set", setting) is None


def test_a_folder_that_takes_no_receipt_costs_a_warning_and_not_the_run(project: Project, capfd: Capture) -> None:
    project.write(".thinker", "a file in the way")
    for _ in range(2):
        capfd.readouterr()
        assert project.run_here("validate") == 0
        said = capfd.readouterr().err
        assert "warning: no receipt is kept, and the next command runs the gate again: " in said
        assert "gate: runs, because there is no receipt yet" in said
    assert project.record()["validation"]["receipt"] is None


# What the suite itself does


def test_a_suite_that_changes_what_it_has_read_leaves_no_receipt(project: Project, capfd: Capture) -> None:
    project.write("data/count.txt", "0")
    project.write(
        "tests/test_data.py",
        """
from pathlib import Path

def test_counts():
    path = Path(__file__).parents[1] / "data/count.txt"
    path.write_text(path.read_text() + "1")
""",
    )
    for _ in range(2):
        capfd.readouterr()
        assert project.run_here("validate") == 0
        said = capfd.readouterr().err
        assert "no receipt is kept" in said
        assert "data/count.txt changed while the test suite ran" in said
    assert receipts(project) == []


def test_a_suite_that_writes_into_its_own_folder_has_its_receipt(project: Project, capfd: Capture) -> None:
    project.write(
        "tests/test_data.py",
        "from pathlib import Path\n\ndef test_writes():\n    (Path(__file__).parent / 'made.txt').write_text('x')\n",
    )
    assert why(project, capfd) == "there is no receipt yet"
    assert why(project, capfd) is None


def test_that_other_programs_read_unseen_is_said_unless_their_inputs_are_declared(
    project: Project, capfd: Capture
) -> None:
    project.write("tests/test_data.py", "import os\n\ndef test_runs():\n    assert os.system('true') == 0\n")
    said = "the test suite started other programs"
    assert project.run_here("validate") == 0
    assert said in capfd.readouterr().err
    assert project.run_here("validate", "--set", "pipeline.tests.inputs=[data]") == 0
    assert said not in capfd.readouterr().err


# Explained


def test_explain_lists_every_input_and_what_changed_and_runs_nothing(gated: Project, capfd: Capture) -> None:
    runs = len(list((gated.root / "runs").iterdir()))
    gated.replace("data/train.jsonl", "Paris", "paris")
    assert gated.run_here("validate", "--explain", "--json", "--set", "training.max_seq_length=64") == 0
    explained = json.loads(capfd.readouterr().out)
    assert explained["passed_before"] is False
    assert explained["receipt"]["digest"] == receipts(gated)[0].stem
    changed = {each["name"]: each["change"] for each in explained["inputs"] if each["change"]}
    assert changed == {
        "data/train.jsonl": "data/train.jsonl changed",
        "training.max_seq_length": "training.max_seq_length was 128, is 64",
    }
    names = {each["name"] for each in explained["inputs"]}
    assert {"data/eval.jsonl", "tests/limits.json", "helper.py", "data/facts/", "tests.args", "pytest"} <= names
    assert len(list((gated.root / "runs").iterdir())) == runs


@pytest.mark.parametrize(
    ("prepare", "verdict"),
    [
        (lambda project: None, "nothing changed"),
        (lambda project: project.replace("data/read.txt", "read", "Read"), "must run: 1 inputs changed since "),
        (lambda project: shutil.rmtree(project.root / ".thinker"), "must run: there is no receipt yet"),
    ],
)
def test_explain_tells_people_whether_the_gate_would_run(
    gated: Project, capfd: Capture, prepare: Any, verdict: str
) -> None:
    prepare(gated)
    assert gated.run_here("validate", "--explain") == 0
    out = capfd.readouterr().out
    assert verdict in out
    assert ' ["-q"] ' in out
    assert any(line.split()[:2] == ["file", "data/train.jsonl"] for line in out.splitlines())
