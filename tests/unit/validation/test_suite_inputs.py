"""Which files count as the suite's, before it has run."""

from __future__ import annotations

from pathlib import Path

import pytest

from thinker.config import load_experiment
from thinker.tasks.prompt_completion import PromptCompletion
from thinker.validation.known_verdicts import KnownVerdicts


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for name in ("tests/test_a.py", "tests/data/rows.json", "tests/.hidden/x", "tests/__pycache__/test_a.pyc",
                 "data.jsonl", "conftest.py", "setup.cfg"):  # fmt: skip
        write(root / name, "")
    write(root / "data.jsonl", '{"prompt": "p", "completion": "c"}\n')
    write(root / "pipeline.yaml", "tests: {path: tests}\ndata_validation: {path: data.jsonl}\nruns_dir: runs\n")
    return root


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def declared(root: Path, *overrides: str) -> set[str]:
    experiment = load_experiment(root / "pipeline.yaml", overrides=[f"pipeline.{each}" for each in overrides])
    return set(KnownVerdicts(experiment, PromptCompletion()).inputs.files) - {"data.jsonl"}


def test_all_files_of_its_folder_and_what_configures_pytest_above_it(root: Path) -> None:
    assert declared(root) == {"tests/test_a.py", "tests/data/rows.json", "conftest.py", "setup.cfg"}


def test_a_suite_of_one_file_has_the_conftest_files_above_it_too(root: Path) -> None:
    write(root / "tests/conftest.py", "")
    write(root / "tests/test_b.py", "")
    suite = declared(root, f"tests.path={root}/tests/test_a.py")
    assert suite == {"tests/test_a.py", "tests/conftest.py", "conftest.py", "setup.cfg"}


def test_the_search_ends_at_the_top_of_the_repository(root: Path) -> None:
    write(root.parent / "pytest.ini", "[pytest]\n")
    assert "../pytest.ini" not in declared(root)
    (root.parent / ".git").mkdir()
    assert "../pytest.ini" in declared(root)


def test_in_a_suite_that_is_the_whole_project_what_thinker_and_training_leave_does_not_count(root: Path) -> None:
    before = declared(root, f"tests.path={root}")
    for name in ("runs/run.json", ".thinker/cache/x", "adapter/adapter_model.safetensors", "out.jsonl", "venv/bin/x",
                 "lib/site-packages/x.py"):  # fmt: skip
        write(root / name, "")
    write(root / "lora.yaml", "model: {name: org/model}\noutput: {checkpoint_dir: adapter}\n")
    write(root / "pipeline.yaml", (root / "pipeline.yaml").read_text()
          + "training: {config_path: lora.yaml}\nevaluation: {output_path: out.jsonl}\n")  # fmt: skip
    assert declared(root, f"tests.path={root}") - before == {"lora.yaml", "venv/bin/x"}


def test_declared_inputs_are_files_folders_and_patterns(root: Path) -> None:
    for name in ("one.csv", "folder/two.csv", "folder/deep/three.csv", "other/deep/four.csv", "other/four.txt"):
        write(root / name, "")
    inputs = f"[{root}/one.csv, {root}/folder, '{root}/other/**/*.csv']"
    found = declared(root, f"tests.inputs={inputs}") - declared(root)
    assert found == {"one.csv", "folder/two.csv", "folder/deep/three.csv", "other/deep/four.csv"}


def test_files_of_a_pattern_outside_the_project_keep_apart(root: Path) -> None:
    for name in ("a/x.csv", "b/x.csv"):
        write(root.parent / "outside" / name, "")
    found = declared(root, f"tests.inputs=['{root.parent}/outside/*/x.csv']") - declared(root)
    assert found == {"tests.inputs.0:a/x.csv", "tests.inputs.0:b/x.csv"}


def test_a_disabled_suite_has_no_files(root: Path) -> None:
    assert declared(root, "tests.enabled=false") == set()
