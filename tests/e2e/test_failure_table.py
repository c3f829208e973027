"""The failure modes of the specification (section 7), and what all failures have in common, on the command line."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.project import Project, jsonl

posix_signals = pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")

FAILING_SUITE = """
import os, sys

def test_fails_and_prints_everywhere():
    print("printed")
    sys.__stdout__.write("past every wrapper\\n")
    os.system("echo from a program")
    assert "sour" == "sweet"
"""
SLOW_SUITE = """
import pathlib, time

def test_takes_long():
    pathlib.Path("begun").touch()
    time.sleep(100)
"""


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("[thinker] error: ")]


def signalled(
    project: Project, number: int, *args: str, after: str, ignored: bool = False
) -> subprocess.CompletedProcess[str]:
    """`thinker ARGS`, sent a signal once `after` begins a step's line on standard error, or is the name of a file."""
    # A test run in the background has signals ignored, and hands that on, unless told otherwise.
    handling = signal.SIG_IGN if ignored else signal.SIG_DFL
    process = subprocess.Popen(
        [sys.executable, "-m", "thinker", *args], cwd=project.root,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(number, handling),
    )  # fmt: skip
    assert process.stderr is not None
    said = ""
    while process.poll() is None and after not in said and not (project.root / after).exists():
        if after.startswith("step "):
            said += process.stderr.readline()
        else:
            time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=200)
    return subprocess.CompletedProcess(args, process.returncode, out, said + err)


# Config: path does not exist


def test_a_missing_path_is_shown_as_written_and_from_the_folder_of_its_file(project: Project) -> None:
    (project.root / "configs").mkdir()
    for name in ("pipeline.yaml", "lora.yaml"):
        (project.root / name).rename(project.root / "configs" / name)
    done = project.thinker("--config", "configs/pipeline.yaml", "validate")
    assert done.returncode == 2
    resolved = project.root / "configs" / "data/train.jsonl"
    expected = f"data_validation.path: no such file: data/train.jsonl (resolved: {resolved})"
    assert any(line.endswith(expected) for line in errors(done))


def test_all_faults_of_both_files_are_told_at_once(project: Project) -> None:
    project.replace("pipeline.yaml", "max_new_tokens: 6", "max_new_tokens: many\n  max_sample: 3")
    project.replace("lora.yaml", "  r: 4", "  r: -4")
    (project.root / "data/eval.jsonl").unlink()
    done = project.thinker("eval")
    assert done.returncode == 2
    places = [line.removeprefix("[thinker] error: ").partition(": ")[0] for line in errors(done)]
    assert places == ["pipeline.yaml:15:14", "pipeline.yaml:17:19", "pipeline.yaml:18:3", "lora.yaml:6:6"]


# Tests: pytest failure


def test_pytests_output_is_shown_and_kept_and_nothing_follows_it(project: Project) -> None:
    project.write("tests/test_data.py", FAILING_SUITE)
    done = project.thinker("run")
    assert done.returncode == 3
    assert "assert 'sour' == 'sweet'" in done.stdout
    record = project.record()
    kept = project.root / "runs" / record["run_id"] / "pytest.txt"
    assert "assert 'sour' == 'sweet'" in kept.read_text(encoding="utf-8")
    assert (record["validation"]["pytest"], record["validation"]["tests"]["failed"]) == ("failed", 1)
    assert set(record["timings_s"]) == {"tests"}
    assert not (project.root / "adapter").exists()


# Data validation: the first errors are shown, all are kept


def test_the_first_ten_errors_are_shown_and_all_are_kept(project: Project) -> None:
    project.write("data/train.jsonl", jsonl([{"prompt": "What?", "completion": ""}] * 15))
    done = project.thinker("train")
    assert done.returncode == 4
    first_ten = [f"[thinker] error: train.jsonl:{n}: completion: empty string (THK-DATA-012)" for n in range(1, 11)]
    more, total = errors(done)[10:]
    assert errors(done)[:10] == first_ten
    assert more == "[thinker] error: … and 5 more errors"
    assert total.startswith("[thinker] error: train.jsonl: 15 errors, the first: train.jsonl:1: completion: empty")
    record = project.record()
    assert record["validation"]["dataset_errors"] == 15
    problems = project.root / record["artifacts"]["dataset_problems"]["path"]
    assert [json.loads(line)["line"] for line in problems.read_text(encoding="utf-8").splitlines()] == [*range(1, 16)]
    assert not (project.root / "adapter").exists()


def test_warnings_about_rows_are_no_errors(project: Project) -> None:
    dataset = project.root / "data/train.jsonl"
    dataset.write_text(dataset.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    done = project.thinker("validate")
    assert done.returncode == 0
    assert errors(done) == []
    assert "[thinker] train.jsonl:11: warning: blank line, skipped (THK-DATA-041)" in done.stderr


def test_a_check_that_does_not_exist_is_told_before_the_suite_runs(project: Project) -> None:
    project.replace("pipeline.yaml", "jsonl\n", "jsonl\n  checks: {THK-DATA-999: off}\n")
    done = project.thinker("validate")
    assert (done.returncode, done.stdout) == (2, "")


# Training: the original exception, with backend and configuration


def test_a_librarys_error_comes_with_backend_and_configuration_and_under_debug_with_its_traceback(
    project: Project,
) -> None:
    done = project.thinker("train", "--json", "--debug", "--set", "lora.r=10000000000000")
    assert done.returncode == 5
    assert len(errors(done)) == 1
    assert errors(done)[0].startswith("[thinker] error: hf_peft (lora.yaml): RuntimeError: ")
    assert "Traceback (most recent call last)" in done.stderr
    assert "The above exception was the direct cause" in done.stderr
    shown = json.loads(done.stdout)
    assert shown["error"]["message"] == errors(done)[0].removeprefix("[thinker] error: ")
    assert (shown["status"], shown["exit_code"], shown["error"]["stage"]) == ("failed", 5, "training")


def test_a_tracker_that_is_not_installed_is_refused_before_the_model_is_loaded(project: Project, capfd: Any) -> None:
    if importlib.util.find_spec("wandb"):
        pytest.skip("wandb is installed")
    assert project.run_here("train", "--set", "output.report_to=wandb") == 2
    assert "[thinker] error: output.report_to: WandbCallback requires wandb" in capfd.readouterr().err


def test_damaged_cached_rows_are_encoded_again(project: Project, capfd: Any) -> None:
    assert project.run_here("run", "--dry-run", "--no-probe") == 0
    (rows,) = (project.root / ".thinker/cache/encoded").glob("*/rows.arrow")
    whole = rows.read_bytes()
    rows.write_bytes(whole[:50])
    assert project.run_here("run", "--dry-run", "--no-probe") == 0
    assert "are damaged" in capfd.readouterr().err
    assert len(rows.read_bytes()) == len(whole)


# Evaluation: checkpoint missing


@pytest.mark.parametrize(
    ("place", "what"),
    [("elsewhere", "does not exist"), ("data", "has no adapter_config.json and no adapter_model.safetensors"),
     ("lora.yaml", "is not a folder")],
)  # fmt: skip
def test_a_missing_adapter_is_told_before_the_gate_runs_and_suggests_training(
    project: Project, place: str, what: str
) -> None:
    done = project.thinker("eval", "--checkpoint", place)
    assert (done.returncode, done.stdout) == (2, "")
    where = f"no adapter to evaluate: {project.root / place} {what}"
    assert errors(done) == [f"[thinker] error: {where}; run `thinker train` first, or give --checkpoint"]


# Metadata: git fails


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for git is a shell script")
def test_a_git_that_fails_is_not_fatal(project: Project) -> None:
    git = project.write("bin/git", "#!/bin/sh\necho 'fatal: bad object HEAD' >&2\nexit 128\n")
    git.chmod(0o755)
    done = project.thinker("validate", "-q", env={"PATH": f"{git.parent}{os.pathsep}{os.environ['PATH']}"})
    assert (done.returncode, done.stderr) == (0, "")
    assert project.record()["git_commit"] is None


# What every failure has in common


def test_a_traceback_is_shown_on_request_alone(project: Project) -> None:
    (project.root / "pipeline.yaml").unlink()
    assert "Traceback" not in project.thinker("validate").stderr
    assert "Traceback" in project.thinker("--debug", "validate").stderr


def test_an_unforeseen_error_is_one_line_and_its_traceback_is_in_the_log(project: Project) -> None:
    project.write("plugin.py", "def task():\n    raise KeyError('first line\\nsecond line')\n")
    project.replace("pipeline.yaml", "task: prompt_completion", "task: plugin:task")
    done = project.thinker("validate", env={"PYTHONPATH": str(project.root)})
    assert done.returncode == 1
    assert len(errors(done)) == 1
    assert "KeyError" in errors(done)[0]
    assert "--debug shows where" in errors(done)[0]
    record = project.record()
    assert (record["status"], record["exit_code"]) == ("failed", 1)
    log = (project.root / "runs" / record["run_id"] / "run.log").read_text(encoding="utf-8")
    assert "Traceback (most recent call last)" in log


@pytest.mark.parametrize(
    ("args", "code", "stage"),
    [
        (["--no-such-option"], 2, "usage"),
        (["--set", "training.learnin_rate=1"], 2, "config"),
        (["--set", "pipeline.runs_dir=data/train.jsonl/runs"], 2, "record"),
        (["--set", "pipeline.tests.args=[-s]"], 3, "tests"),
        (["-q"], 3, "tests"),
        (["--set", "pipeline.tests.enabled=false"], 4, "data"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_json_is_one_object_on_standard_output_and_the_rest_is_on_standard_error(
    project: Project, args: list[str], code: int, stage: str
) -> None:
    project.write("tests/test_data.py", FAILING_SUITE)
    project.write("data/train.jsonl", "[]\n")
    done = project.thinker("--json", "validate", *args)
    assert done.returncode == code
    shown = json.loads(done.stdout)
    assert (shown["status"], shown["exit_code"], shown["error"]["stage"]) == ("failed", code, stage)
    assert len(errors(done)) == 1
    if code == 3:
        assert "assert 'sour' == 'sweet'" in done.stderr
        assert "from a program" in done.stderr


def test_nothing_given_shows_the_help(project: Project) -> None:
    done = project.thinker()
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: thinker")
    assert errors(done) == []


@pytest.mark.skipif(os.name != "posix", reason="a folder in use cannot be removed")
def test_a_removed_current_folder_is_told(project: Project) -> None:
    folder = project.root / "gone"
    folder.mkdir()
    code = "import pathlib, sys; pathlib.Path.cwd().rmdir(); from thinker.cli import main; main(['validate'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert errors(done) == ["[thinker] error: the current folder no longer exists; change to another one and try again"]


@pytest.mark.skipif(os.name != "posix", reason="closes descriptors with a shell")
@pytest.mark.parametrize("closing", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_do_no_harm(project: Project, closing: str) -> None:
    command = f'"{sys.executable}" -m thinker validate {closing}'
    done = subprocess.run(["/bin/sh", "-c", command], cwd=project.root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert project.record()["status"] == "success"


def test_characters_that_the_terminal_lacks_are_spelled_out(project: Project) -> None:
    project.thinker("validate", "-q")
    done = project.thinker("runs", "show", env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "training \\u2013" in done.stdout


# Interrupted


@posix_signals
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_during_training_ends_in_130_and_a_closed_record(project: Project, name: str) -> None:
    project.replace("lora.yaml", "num_epochs: 2", "num_epochs: 100000")
    done = signalled(project, getattr(signal, name), "train", after="step 2/")
    assert done.returncode == 130
    assert "[thinker] interrupted" in done.stderr
    assert "Traceback" not in done.stderr
    record = project.record()
    assert (record["status"], record["exit_code"], record["error"]["stage"]) == ("interrupted", 130, "train")
    assert record["finished_at"] is not None
    assert record["training"] is None
    assert not (project.root / "adapter/adapter_model.safetensors").exists()


@posix_signals
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_during_the_suite_ends_in_130_and_a_closed_record(project: Project, name: str) -> None:
    project.write("tests/test_data.py", SLOW_SUITE)
    done = signalled(project, getattr(signal, name), "validate", "--json", after="begun")
    assert done.returncode == 130, done.stderr
    assert json.loads(done.stdout) == project.record()
    assert (project.record()["status"], project.record()["error"]["stage"]) == ("interrupted", "tests")


@posix_signals
def test_a_signal_that_is_ignored_stays_ignored(project: Project) -> None:
    """As `nohup` has it: the run goes on when its terminal is closed."""
    project.write("tests/test_data.py", SLOW_SUITE.replace("100", "1"))
    done = signalled(project, signal.SIGHUP, "validate", after="begun", ignored=True)
    assert done.returncode == 0, done.stderr
    assert project.record()["status"] == "success"


def test_the_documentation_names_every_exit_code(project: Project) -> None:
    from thinker import errors as hierarchy

    codes = {
        value.exit_code for value in vars(hierarchy).values()
        if isinstance(value, type) and issubclass(value, hierarchy.ThinkerError)
    } | {hierarchy.EXIT_OK, hierarchy.EXIT_INTERRUPTED}  # fmt: skip
    page = (Path(__file__).parents[2] / "docs/errors.md").read_text(encoding="utf-8")
    assert {int(line.split("|")[1]) for line in page.splitlines() if line[2:3].isdigit()} == codes
