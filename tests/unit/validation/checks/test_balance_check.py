"""One label that makes up almost all rows is noticed; the statistics show how they spread."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.second_pass import Passed, Row, second_pass

from thinker.tasks.base import Task
from thinker.tasks.prompt_completion import PromptCompletion
from thinker.tasks.scifact_claims import ScifactClaims
from thinker.validation.checks.balance import LabelBalance

SUPPORTED = "CLAIM[c1]: x\nCLAIM[c2] (Document 1): y\nRELATION: c2 supports c1"


def check(folder: Path, task: Task, completions: list[str]) -> Passed:
    rows: list[Row] = [{"prompt": f"Question {number}?", "completion": text} for number, text in enumerate(completions)]
    return second_pass(folder, task, [LabelBalance(task)], rows)


def test_a_label_of_95_rows_in_100_is_a_problem_of_the_dataset(tmp_path: Path) -> None:
    found = check(tmp_path, PromptCompletion(), [" yes"] * 95 + [" no"] * 5)
    assert found.places == [("THK-DATA-083", None, "")]
    assert found.problems[0].message == "95 of 100 rows have the completion 'yes'"
    assert found.statistics == {"labels": {"yes": 95, "no": 5}}


@pytest.mark.parametrize(
    "completions",
    [
        ["yes"] * 94 + ["no"] * 6,
        ["yes"] * 99,
        ["yes"] * 1000 + [f"answer {number}" for number in range(20)],
    ],
    ids=["balanced enough", "too few rows", "texts, not labels"],
)
def test_otherwise_there_is_no_problem(tmp_path: Path, completions: list[str]) -> None:
    assert check(tmp_path, PromptCompletion(), completions).problems == []


@pytest.mark.parametrize("completions", [["yes"] * 99, [f"answer {number}" for number in range(200)]])
def test_completions_that_are_no_labels_are_not_shown(tmp_path: Path, completions: list[str]) -> None:
    assert check(tmp_path, PromptCompletion(), completions).statistics == {}


def test_a_task_may_say_what_the_label_is(tmp_path: Path) -> None:
    found = check(tmp_path, ScifactClaims(), ["CLAIM[c1]: a", "CLAIM[c1]: b", SUPPORTED])
    assert found.statistics == {"labels": {"none": 2, "supports": 1}}
    found = check(tmp_path, ScifactClaims(), [f"CLAIM[c1]: {number}" for number in range(200)])
    assert found.problems[0].message == "200 of 200 rows have the label 'none'"


def test_long_labels_are_shown_by_their_beginning(tmp_path: Path) -> None:
    found = check(tmp_path, PromptCompletion(), ["x" * 80] * 60 + ["x" * 81] * 60)
    assert found.statistics == {"labels": {"x" * 59 + "…": 120}}
