"""What all tests share: hypothesis without deadlines, and fixtures for what the repository does not carry."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings
from support.project import Project, make_project

# Before torch is first imported: the models of the tests are too small for more than one thread to pay.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# A busy machine is no defect.
settings.register_profile("thinker", deadline=None)
settings.load_profile("thinker")


@pytest.fixture(scope="session")
def scifact_dir() -> Path:
    """The real SciFact data (`claims_train.jsonl`, `claims_dev.jsonl`, `corpus.jsonl`); in CI they must be there."""
    folder = os.environ.get("THINKER_SCIFACT_DIR")
    if folder and (Path(folder) / "corpus.jsonl").is_file():
        return Path(folder)
    what = f"THINKER_SCIFACT_DIR ({folder or 'not set'}) does not name a folder with the SciFact data"
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture
def project(tmp_path: Path, tiny_model: Path) -> Project:
    """A small experiment on disk, whole and valid."""
    return make_project(tmp_path / "project", tiny_model)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny real model, made once a session. Do not write to it."""
    from support.tiny_model import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The real SmolLM2-135M-Instruct as a GGUF file, which `make` fetches; in CI it must be there."""
    path = os.environ.get("THINKER_SMOLLM2")
    if path and Path(path).is_file():
        return Path(path)
    what = f"THINKER_SMOLLM2 ({path or 'not set'}) does not name the model's GGUF file; `make model` fetches it"
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)
