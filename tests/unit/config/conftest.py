from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from config_project import Project

from thinker import secrets

_SPEC_EXAMPLES = Path(__file__).parent / "spec_examples"


@pytest.fixture(autouse=True)
def _secrets_of_this_test_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_values", set())
    monkeypatch.setattr(secrets, "_pattern", secrets._pattern)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A sound experiment in the current folder, without a hub token in the environment."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)


@pytest.fixture
def spec_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The specification's two examples, as written, in a tree that has all they name.

    The pipeline file says `../cns-support-models`, the LoRA file beside it `../../cns-support-models`.
    """
    cns = tmp_path / "cns-support-models"
    for name in (
        "tests/test_ok.py",
        "data/processed/scifact_claim_extractor.jsonl",
        "data/raw/scifact/claims_dev.jsonl",
        "data/raw/scifact/corpus.jsonl",
    ):
        (cns / name).parent.mkdir(parents=True, exist_ok=True)
        (cns / name).write_text("", encoding="utf-8")
    configs = tmp_path / "thinker" / "configs"
    shutil.copytree(_SPEC_EXAMPLES, configs)
    try:
        (tmp_path / "thinker" / "cns-support-models").symlink_to(cns, target_is_directory=True)
    except OSError as error:
        pytest.skip(f"symbolic links are not allowed here: {error}")
    monkeypatch.chdir(tmp_path)
    return configs / "pipeline.yaml"
