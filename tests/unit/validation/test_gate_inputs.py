from __future__ import annotations

from typing import Any

import pytest

from thinker import secrets
from thinker.validation.gate_inputs import GateInputs

ONE, OTHER = "1" * 64, "2" * 64
BEFORE: dict[str, Any] = {
    "settings": {"training.max_seq_length": 512, "tests.args": ["-q"]},
    "files": {"data/train.jsonl": ONE, "more/": ONE},
    "versions": {"pytest": "9.1"},
}


def inputs(**changed: dict[str, Any]) -> GateInputs:
    """`BEFORE`, with some entries of its parts replaced."""
    return GateInputs.of(**{part: {**BEFORE[part], **changed.get(part, {})} for part in BEFORE})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"files": {"data/train.jsonl": OTHER}}, "data/train.jsonl changed"),
        ({"files": {"data/train.jsonl": None}}, "data/train.jsonl is no longer there"),
        ({"files": {"tests/test_new.py": ONE}}, "tests/test_new.py is new"),
        ({"files": {"more/": OTHER}}, "more/ holds other files"),
        ({"settings": {"training.max_seq_length": 256}}, "training.max_seq_length was 512, is 256"),
        ({"settings": {"training.max_seq_length": None}}, "training.max_seq_length was 512, is not set"),
        ({"settings": {"tests.markers": "not slow"}}, "tests.markers was not set, is not slow"),
        ({"settings": {"tests.args": ["-q", "-x"]}}, 'tests.args was ["-q"], is ["-q", "-x"]'),
        ({"settings": {"tests.args": ["-k", "a" * 100]}}, "tests.args changed"),
        ({"versions": {"pytest": "9.2"}}, "pytest was 9.1, is 9.2"),
        ({"versions": {"pytest": None}}, "pytest was 9.1, is not installed"),
    ],
)
def test_each_change_is_said_by_name(changed: dict[str, Any], said: str) -> None:
    now = inputs(**changed)
    assert [str(change) for change in now.changes_since(inputs())] == [said]
    assert now.digest != inputs().digest


def test_files_are_told_before_settings_and_settings_before_versions() -> None:
    now = inputs(
        versions={"pytest": "9.2"}, settings={"training.max_seq_length": 256}, files={"data/train.jsonl": OTHER}
    )
    changes = [change.name for change in now.changes_since(inputs())]
    assert changes == ["data/train.jsonl", "training.max_seq_length", "pytest"]


def test_order_and_the_spelling_of_a_number_change_nothing() -> None:
    now = GateInputs.of(
        settings={"tests.args": ("-q",), "training.max_seq_length": 512.0},
        files=dict(reversed(BEFORE["files"].items())),
        versions=BEFORE["versions"],
    )
    assert now.digest == inputs().digest
    assert now.changes_since(inputs()) == []


def test_null_is_as_good_as_not_set() -> None:
    assert inputs(settings={"tests.markers": None}).digest == inputs().digest


def test_a_secret_in_a_setting_is_not_kept() -> None:
    secrets.register("correct horse battery")
    assert "horse" not in str(inputs(settings={"tests.args": ["--key=correct horse battery"]}).as_json())
