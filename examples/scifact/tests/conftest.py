"""What the data tests look at: the rows to train on, and the SciFact files that they were made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parent.parent / "data"

Row = dict[str, Any]


def read(name: str) -> list[Row]:
    """The rows of one of the data files."""
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    """The rows that training reads."""
    return read("train.jsonl")


@pytest.fixture(scope="session")
def claims() -> dict[int, Row]:
    """The training claims, by id."""
    return {claim["id"]: claim for claim in read("claims_train.jsonl")}


@pytest.fixture(scope="session")
def heldout_claims() -> list[Row]:
    """The claims that the evaluation asks about."""
    return read("claims_heldout.jsonl")


@pytest.fixture(scope="session")
def sentences() -> dict[int, set[str]]:
    """The sentences of each document, by its id."""
    return {document["doc_id"]: {text.strip() for text in document["abstract"]} for document in read("corpus.jsonl")}
