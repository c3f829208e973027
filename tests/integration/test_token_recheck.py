"""Training encodes the tokens that the gate saw, or the token checks are made again with those that it encodes."""

import json
import shutil
from pathlib import Path

import pytest
from support.project import Project, jsonl

DIFFERS = "cuts rows into other tokens"
MADE_NOW = "the checks that count tokens are made now"


@pytest.fixture
def model(project: Project, tiny_model: Path) -> Path:
    """The project's own copy of the model."""
    folder = shutil.copytree(tiny_model, project.root / "model")
    project.replace("lora.yaml", tiny_model.as_posix(), folder.as_posix())
    return folder


def configure(folder: Path, **values: object) -> None:
    path = folder / "tokenizer_config.json"
    found = {**json.loads(path.read_text(encoding="utf-8")), **values}
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not None}), encoding="utf-8")


def build_anew(folder: Path, **values: object) -> None:
    """Have Transformers build the tokenizer of its own class, which does not go by tokenizer.json alone."""
    configure(folder, tokenizer_class="GPT2Tokenizer", backend=None, **values)


def add_row(project: Project, prompt: str) -> None:
    path = project.root / "data/train.jsonl"
    path.write_text(path.read_text(encoding="utf-8") + jsonl([{"prompt": prompt, "completion": "x"}]), encoding="utf-8")


def dry_run(project: Project, *arguments: str) -> int:
    return project.run_here("run", "--dry-run", "--no-probe", *arguments)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["--set", "model.prompt_format=chat"],
        ["--set", "training.on_overlong=drop", "--set", "training.max_seq_length=17"],
        ["--set", "training.on_overlong=truncate_prompt", "--set", "training.max_seq_length=12"],
    ],
    ids=["raw", "chat", "dropped", "truncated"],
)
def test_gate_and_training_agree_on_every_id_and_weight(project: Project, overrides: list[str], capfd) -> None:
    for _ in range(2):  # encoded, then from the cache; the gate run, then its receipt
        assert dry_run(project, *overrides) == 0
        said = capfd.readouterr().err
        assert DIFFERS not in said
        assert MADE_NOW not in said


def test_a_tokenizer_that_transformers_builds_otherwise_is_told(project: Project, model: Path, capfd) -> None:
    build_anew(model, add_prefix_space=True)
    assert dry_run(project) == 0
    assert f"warning: the tokenizer as Transformers loads it {DIFFERS}" in capfd.readouterr().err
    assert any(DIFFERS in warning for warning in project.record()["warnings"])


def test_errors_that_only_trainings_tokenizer_shows_stop_training(project: Project, model: Path, capfd) -> None:
    # Without one in the files, the class brings a beginning-of-sequence token of its own.
    build_anew(model, bos_token=None)
    add_row(project, "<|endoftext|><|endoftext|>one two")
    assert project.run_here("validate", "-q") == 0
    assert project.run_here("train") == 4
    said = capfd.readouterr().err
    assert DIFFERS in said
    assert "train.jsonl:11: the row begins with '<|endoftext|>' twice" in said
    assert "(THK-DATA-064)" in said
    assert not (project.root / "adapter").exists()


def test_where_the_gate_found_no_tokenizer_training_makes_the_checks(project: Project, model: Path, capfd) -> None:
    from tokenizers import Tokenizer

    Tokenizer.from_file(str(model / "tokenizer.json")).model.save(str(model))  # vocab.json and merges.txt
    (model / "tokenizer.json").unlink()
    build_anew(model)
    add_row(project, "one <|eos|> two")
    assert dry_run(project) == 0
    said = capfd.readouterr().err
    assert "has no tokenizer.json" in said
    assert "(THK-DATA-069)" in said
    assert MADE_NOW in said
    assert "train.jsonl:11: warning: prompt: '<|eos|>' at character 4" in said


def test_without_the_gate_nothing_is_compared(project: Project, model: Path, capfd) -> None:
    build_anew(model, add_prefix_space=True)
    assert dry_run(project, "--skip-validation") == 0
    assert DIFFERS not in capfd.readouterr().err
