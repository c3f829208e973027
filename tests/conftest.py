"""What all tests share: hypothesis without deadlines, and fixtures for what the repository does not carry."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

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
