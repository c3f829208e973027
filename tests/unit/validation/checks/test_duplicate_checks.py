"""Rows beside each other: each kind of repetition is found once, with the earlier row's place."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from support.second_pass import Passed, Row, second_pass

from thinker.tasks.base import Example
from thinker.tasks.prompt_completion import PromptCompletion
from thinker.validation.checks.duplicates import Duplicates
from thinker.validation.preflight import CheckedRow

EXACT, NORMALISED, CONFLICT = "THK-DATA-080", "THK-DATA-081", "THK-DATA-082"
ROWS: list[Row] = [
    {"prompt": "What is the capital of France?", "completion": "Paris"},
    {"prompt": "What is the capital of Italy?", "completion": "Rome"},
    {"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]},
    {"messages": [{"role": "system", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]},
    {"prompt": "2 - 2?", "completion": "4"},
    {"prompt": "What do you say?", "completion": ":-)"},
]


def check(folder: Path, *files: list[Row]) -> Passed:
    return second_pass(folder, PromptCompletion(), [Duplicates()], *files)


def test_different_rows_have_no_problem(tmp_path: Path) -> None:
    found = check(tmp_path, ROWS)
    assert found.problems == []
    assert found.statistics == {"duplicates": {"duplicate": 0, "duplicate-normalised": 0, "conflict": 0}}


@pytest.mark.parametrize(
    ("row", "code", "message"),
    [
        (ROWS[0], EXACT, "the same example as a.jsonl:1"),
        (ROWS[0] | {"metadata": {"x": 1}}, EXACT, "the same example as a.jsonl:1"),
        (ROWS[2], EXACT, "the same example as a.jsonl:3"),
        (
            {"prompt": " what is the capital, of FRANCE", "completion": "paris."},
            NORMALISED,
            "but for case, punctuation and spacing, the example of a.jsonl:1",
        ),
        (
            ROWS[0] | {"completion": "PARIS"},
            NORMALISED,
            "but for case, punctuation and spacing, the example of a.js",
        ),
        (ROWS[0] | {"completion": "Lyon"}, CONFLICT, "the prompt of a.jsonl:1 with another completion"),
        (ROWS[5] | {"completion": ":-("}, CONFLICT, "the prompt of a.jsonl:6 with another completion"),
        (
            {"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "5"}]},
            CONFLICT,
            "the prompt of a.jsonl:3 with another completion",
        ),
    ],
)
def test_a_repetition_is_one_problem(tmp_path: Path, row: Row, code: str, message: str) -> None:
    found = check(tmp_path, [*ROWS, row])
    assert found.places == [(code, len(ROWS) + 1, "")]
    assert found.problems[0].message.startswith(message)


def test_a_row_is_held_against_the_first_that_it_repeats_in_any_file(tmp_path: Path) -> None:
    loud, lyon = ROWS[0] | {"completion": "PARIS"}, ROWS[0] | {"completion": "Lyon"}
    found = check(tmp_path, [ROWS[1], ROWS[0], lyon], [loud, ROWS[0], loud, lyon, ROWS[0] | {"completion": "Nice"}])
    assert [(Path(each.file).name, each.line, each.code, each.message.split()[-1]) for each in found.problems] == [
        ("a.jsonl", 3, CONFLICT, "completion"),
        ("b.jsonl", 1, NORMALISED, "a.jsonl:2"),
        ("b.jsonl", 2, EXACT, "a.jsonl:2"),
        ("b.jsonl", 3, EXACT, "b.jsonl:1"),
        ("b.jsonl", 4, EXACT, "a.jsonl:3"),
        ("b.jsonl", 5, CONFLICT, "completion"),
    ]
    assert found.statistics == {"duplicates": {"duplicate": 3, "duplicate-normalised": 1, "conflict": 2}}


def test_texts_are_not_run_together(tmp_path: Path) -> None:
    assert check(tmp_path, [{"prompt": "ab", "completion": "c"}, {"prompt": "a", "completion": "bc"}]).problems == []


def test_the_memory_of_a_row_is_as_stated() -> None:
    check, path, rows = Duplicates(), Path("a.jsonl"), 11_000  # the dictionaries have just grown
    tracemalloc.start()
    try:
        for number in range(rows):
            example = Example(f"question {number}", f"answer {number}")
            assert list(check.rows([CheckedRow(number, path, number + 1, {}, example)])) == []
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.8 * Duplicates.bytes_per_row < taken / rows <= Duplicates.bytes_per_row
