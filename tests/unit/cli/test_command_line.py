"""What every command has in common."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.project import Project

import thinker


def modules_loaded(code: str, cwd: Path | None = None) -> set[str]:
    """Top-level packages in a fresh interpreter after `code`."""
    ending = "\nimport sys; print('\\n'.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", code + ending], capture_output=True, text=True, check=True, cwd=cwd, timeout=120
    )
    return set(done.stdout.splitlines())


def test_help_imports_nothing_heavy() -> None:
    code = "from thinker.cli.entry import run\nassert run(['--help']) == 0"
    heavy = {"torch", "transformers", "pytest", "pydantic", "rich", "ruamel", "datasets", "numpy"}
    assert not heavy & modules_loaded(code)


def test_the_gate_needs_neither_torch_nor_transformers(project: Project) -> None:
    code = "from thinker.cli.entry import run\nassert run(['validate', '-q']) == 0"
    assert not {"torch", "transformers", "datasets"} & modules_loaded(code, project.root)


def test_options_are_accepted_before_and_after_the_command(
    project: Project, tmp_path: Path, monkeypatch, capfd
) -> None:
    monkeypatch.chdir(tmp_path)
    config = str(project.root / "pipeline.yaml")
    from thinker.cli.entry import run

    for argv in (["--config", config, "validate", "-q"], ["validate", "--config", config, "-q"], ["-q", "validate",
                 "--config", config]):  # fmt: skip
        assert run(argv) == 0
    assert capfd.readouterr().out == ""


def test_overrides_before_and_after_are_both_recorded(project: Project) -> None:
    assert project.run_here("--set", "lora.r=2", "validate", "-q", "--set", "data.seed=1") == 0
    assert project.record()["overrides"] == ["lora.r=2", "data.seed=1"]


def test_json_prints_one_object_and_nothing_else_on_stdout(project: Project, capfd) -> None:
    assert project.run_here("validate", "--json") == 0
    shown = capfd.readouterr()
    assert json.loads(shown.out)["status"] == "success"
    assert "1 passed" in shown.err


def test_json_reports_a_configuration_error_too(project: Project, capfd) -> None:
    project.replace("pipeline.yaml", "max_new_tokens", "max_new_token")
    assert project.run_here("validate", "--json") == 2
    found = json.loads(capfd.readouterr().out)
    assert (found["exit_code"], found["error"]["stage"]) == (2, "config")


def test_quiet_says_nothing_when_all_is_well_and_shows_pytest_when_not(project: Project, capfd) -> None:
    assert project.run_here("validate", "-q") == 0
    assert capfd.readouterr() == ("", "")
    project.write("tests/test_data.py", "def test_fails():\n    assert 'sour' == 'sweet'\n")
    assert project.run_here("validate", "-q") == 3
    assert "sour" in capfd.readouterr().err


def test_a_usage_error_is_one_line_with_a_pointer_to_help(capfd) -> None:
    from thinker.cli.entry import run

    assert run(["train", "--no-such-option"]) == 2
    said = capfd.readouterr().err
    assert said.startswith("[thinker] error: No such option '--no-such-option'")
    assert "thinker train --help" in said


@pytest.mark.parametrize("name", ["pipeline", "lora", "record"])
def test_schema_prints_json_schema(name: str, capfd) -> None:
    from thinker.cli.entry import run

    assert run(["schema", name]) == 0
    assert json.loads(capfd.readouterr().out)["type"] == "object"


def test_version_and_module_are_the_same_program() -> None:
    done = subprocess.run([sys.executable, "-m", "thinker", "--version"], capture_output=True, text=True, check=True)
    assert thinker.__version__ in done.stdout


def test_runs_are_listed_and_shown(project: Project, capfd) -> None:
    assert project.run_here("validate", "-q") == 0
    assert project.run_here("runs", "list", "--json") == 0
    listed = json.loads(capfd.readouterr().out)["runs"]
    assert [run["status"] for run in listed] == ["success"]
    assert project.run_here("runs", "list") == 0
    assert listed[0]["run_id"] in capfd.readouterr().out
    assert project.run_here("runs", "show") == 0
    shown = capfd.readouterr().out
    assert "1 tests passed; 10 rows" in shown
    assert project.run_here("runs", "show", "--json", listed[0]["run_id"][:9]) == 0
    assert json.loads(capfd.readouterr().out)["run_id"] == listed[0]["run_id"]


def test_convert_writes_rows_and_says_how_many(tmp_path: Path, capfd) -> None:
    from thinker.cli.entry import run

    sample = Path(__file__).parents[3] / "examples/scifact/data"
    out = tmp_path / "rows.jsonl"
    options = ["--claims", str(sample / "claims_heldout.jsonl"), "--corpus", str(sample / "corpus.jsonl")]
    assert run(["convert", "scifact", *options, "--out", str(out), "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["rows"] == len(out.read_text(encoding="utf-8").splitlines()) == 24
    assert run(["convert", "scifact", *options, "--out", str(out), "--no-evidence", "drop"]) == 0
    assert "dropped" in capfd.readouterr().out


def test_records_can_be_read_whatever_has_become_of_the_experiment(project: Project, capfd) -> None:
    assert project.run_here("validate", "-q") == 0
    (project.root / "data/train.jsonl").unlink()
    project.replace("pipeline.yaml", "max_new_tokens", "max_new_token")
    assert project.run_here("runs", "list", "--set", "training.learning_rate=1") == 0
    assert "validate" in capfd.readouterr().out
    (project.root / "runs").rename(project.root / "kept")
    assert project.run_here("runs", "show", "--set", "pipeline.runs_dir=kept") == 0
