"""Receipts as files: what they hold, and which are passed over."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from thinker.hashing import digest
from thinker.validation.gate_inputs import GateInputs
from thinker.validation.receipt import EXTENSION, KEPT, Receipt, ReceiptFolder, read_receipt

INPUTS = GateInputs.of(
    {"training.learning_rate": 2e-4, "tests.markers": "not slow"},
    {"data/train.jsonl": "1" * 64, "tests/test_data.py": "2" * 64, "tests/absent.json": None},
    {"pytest": "9.2", "jinja2": None},
)
RECEIPT = Receipt(
    inputs=INPUTS,
    pipeline="pipeline.yaml",
    created="2026-01-31T23:59:59Z",
    run_id="20260131T235958Z",
    thinker_version="0.1.0",
    validation={"pytest": "passed", "dataset": {"rows": 10, "counts_by_code": {"THK-DATA-041": 2}, "share": 0.25}},
    subjects=["data/train.jsonl"],
    passed_tests=["tests/test_data.py::test_one"],
    warned=["THK-DATA-041"],
)


@pytest.fixture
def folder(tmp_path: Path) -> ReceiptFolder:
    return ReceiptFolder(tmp_path / "pipeline.yaml")


def written(folder: ReceiptFolder, receipt: Receipt = RECEIPT) -> Path:
    path = folder.write(receipt)
    assert path is not None
    return path


def test_a_receipt_comes_back_as_it_was_written(folder: ReceiptFolder) -> None:
    path = written(folder)
    assert path == folder.folder / f"{INPUTS.digest}.json"
    assert read_receipt(path) == RECEIPT
    assert [stored.receipt for stored in folder.read()] == [RECEIPT]


def test_it_is_an_in_toto_statement_with_the_test_result_predicate(folder: ReceiptFolder) -> None:
    """https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md"""
    statement = json.loads(written(folder).read_text(encoding="utf-8"))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"] == [{"name": "data/train.jsonl", "digest": {"sha256": "1" * 64}}]
    assert statement["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    predicate = statement["predicate"]
    assert predicate["result"] == "WARNED"
    assert predicate["passedTests"] == ["tests/test_data.py::test_one"]
    assert predicate["warnedTests"] == ["dataset THK-DATA-041"]
    assert predicate["failedTests"] == []
    described = {each["name"]: each["digest"]["sha256"] for each in predicate["configuration"]}
    assert described == {
        "tests/test_data.py": "2" * 64,
        "settings": digest(INPUTS.settings),
        "versions": digest(INPUTS.versions),
    }
    assert set(predicate) - {EXTENSION} == {"result", "configuration", "passedTests", "warnedTests", "failedTests"}


def test_without_warnings_the_result_is_passed_and_so_is_the_dataset(folder: ReceiptFolder) -> None:
    predicate = json.loads(written(folder, replace(RECEIPT, warned=[])).read_text(encoding="utf-8"))["predicate"]
    assert predicate["result"] == "PASSED"
    assert predicate["passedTests"] == ["tests/test_data.py::test_one", "dataset"]
    assert predicate["warnedTests"] == []


def _set(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(statement: dict[str, Any]) -> None:
        target: Any = statement
        for step in path[:-1]:
            target = target[step]
        target[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_set("predicate", EXTENSION, "inputs", "files", "data/train.jsonl", to="3" * 64), "was altered"),
        (_set("predicate", EXTENSION, "inputs", "settings", "tests.markers", to="slow"), "was altered"),
        (_set("predicate", EXTENSION, "gate_digest", to="3" * 64), "was altered"),
        (_set("predicate", EXTENSION, "validation", "dataset", "rows", to=11), "was altered"),
        (_set("predicate", "result", to="PASSED"), "was altered"),
        (_set("subject", 0, "digest", "sha256", to="3" * 64), "was altered"),
        (_set("predicate", EXTENSION, "seal", to="3" * 64), "was altered"),
        (_set("predicate", EXTENSION, "format", to=2), "its format 2 is not that of this version of Thinker (1)"),
        (_set("predicateType", to="https://slsa.dev/provenance/v1"), "another kind of statement"),
        (_set("_type", to="https://in-toto.io/Statement/v0.1"), "another kind of statement"),
        (lambda statement: statement["predicate"].pop(EXTENSION), "is no receipt"),
    ],
)
def test_a_receipt_that_was_altered_or_is_foreign_is_named_and_passed_over(
    folder: ReceiptFolder, caplog: pytest.LogCaptureFixture, change: Callable[[dict[str, Any]], None], why: str
) -> None:
    path = written(folder)
    statement = json.loads(path.read_text(encoding="utf-8"))
    change(statement)
    path.write_text(json.dumps(statement), encoding="utf-8")
    assert folder.read() == []
    assert f"receipt {path} is passed over: " in caplog.text
    assert why in caplog.text


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 100_000])
def test_a_torn_receipt_is_named_and_passed_over(
    folder: ReceiptFolder, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    written(folder).write_bytes(content)
    assert folder.read() == []
    assert "was not written to its end" in caplog.text


def test_any_byte_that_is_lost_or_changed_is_noticed(folder: ReceiptFolder) -> None:
    path = written(folder)
    whole = path.read_bytes()
    for at in range(0, len(whole), 97):
        for spoilt in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
            path.write_bytes(spoilt)
            assert all(stored.receipt == RECEIPT for stored in folder.read()), at


def test_a_receipt_under_another_name_is_passed_over(folder: ReceiptFolder) -> None:
    path = written(folder)
    path.rename(path.with_name(f"{'3' * 64}.json"))
    assert folder.read() == []


def test_the_newest_comes_first_and_only_so_many_are_kept(folder: ReceiptFolder) -> None:
    for number in range(KEPT + 3):
        inputs = GateInputs.of({"data.seed": number}, INPUTS.files, {})
        written(folder, replace(RECEIPT, inputs=inputs, created=f"2026-01-01T00:00:{number:02}Z"))
    seeds = [stored.receipt.inputs.settings["data.seed"] for stored in folder.read()]
    assert seeds == list(range(KEPT + 2, 2, -1))
    assert len(list(folder.folder.iterdir())) == KEPT


def test_what_is_no_receipt_is_never_deleted(folder: ReceiptFolder) -> None:
    folder.folder.mkdir(parents=True)
    mine = folder.folder / "mine.json"
    mine.write_text("{}")
    for number in range(KEPT + 3):
        written(folder, replace(RECEIPT, inputs=GateInputs.of({"data.seed": number}, INPUTS.files, {})))
    assert mine.read_text() == "{}"


def test_no_folder_is_no_receipt_and_no_warning(folder: ReceiptFolder, caplog: pytest.LogCaptureFixture) -> None:
    assert folder.read() == []
    assert caplog.text == ""


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / ".thinker").write_text("a file in the way")
    assert ReceiptFolder(tmp_path / "pipeline.yaml").write(RECEIPT) is None
    assert "no receipt is kept" in caplog.text
    assert str(tmp_path / ".thinker") in caplog.text


@pytest.mark.skipif(os.name != "posix", reason="needs /proc")
def test_a_write_that_fails_leaves_no_half_receipt(folder: ReceiptFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert folder.write(RECEIPT) is None
    assert list(folder.folder.iterdir()) == []
