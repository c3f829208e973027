"""Rows that are also evaluated, and documents that both have, are found once each, by the strongest rule."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.project import Project, jsonl, make_project
from support.second_pass import Passed, Row, second_pass

from thinker.config import load_experiment
from thinker.data.scifact import Document
from thinker.errors import DataError
from thinker.tasks.base import ComparesPrompts, EvalRecord, Example, Message, Prompt, Task
from thinker.tasks.prompt_completion import PromptCompletion
from thinker.tasks.scifact_claims import ScifactClaims
from thinker.tasks.scifact_prompt import ScifactPrompt
from thinker.validation.checks.leakage import Leakage, leakage_checks
from thinker.validation.preflight import CheckedRow

EXACT, NORMALISED, NEAR, DOCUMENT = "THK-DATA-090", "THK-DATA-091", "THK-DATA-092", "THK-DATA-093"
RECORD = "Insulin increases the risk of severe kidney failure."
ROWS: list[Row] = [
    {"prompt": "Water is wet.", "completion": "yes"},
    {"prompt": "?", "completion": "no"},
    {"messages": [{"role": "user", "content": "Ice floats on water."}, {"role": "assistant", "content": "yes"}]},
]


def check(folder: Path, prompts: Sequence[Prompt], rows: Sequence[Row], task: Task | None = None) -> Passed:
    task = task or PromptCompletion()
    records = [EvalRecord(f"r{number}", prompt, "gold") for number, prompt in enumerate(prompts)]
    return second_pass(folder, task, [Leakage(task, lambda: records)], rows)


def scifact(hypothesis: str, *doc_ids: int) -> str:
    return str(ScifactPrompt(tuple(Document(each, "Title", ("One.", "Two.")) for each in doc_ids), hypothesis))


def test_rows_of_their_own_have_no_problem(tmp_path: Path) -> None:
    found = check(tmp_path, [RECORD, "!", "Fire is hot."], ROWS)
    assert found.problems == []
    rows = {"leak": 0, "leak-normalised": 0, "leak-near": 0}
    assert found.statistics == {"leakage": {"records": 3, "rows": rows, "shared_documents": 0}}


@pytest.mark.parametrize(
    ("prompt", "code", "message"),
    [
        (RECORD, EXACT, "the prompt of record r1 of the evaluation"),
        (f"  {RECORD.upper()}", NORMALISED, "asks, but for case, punctuation and spacing, what record r1 asks"),
        (
            RECORD.replace("increases", "decreases"),
            NEAR,
            f"nearly record r1, '{RECORD}' (similarity 0.56)",
        ),
    ],
)
def test_a_row_that_is_evaluated_is_one_problem(tmp_path: Path, prompt: str, code: str, message: str) -> None:
    found = check(tmp_path, ["Fire is hot.", RECORD], [*ROWS, {"prompt": prompt, "completion": "yes"}])
    assert found.places == [(code, 4, "prompt")]
    assert found.problems[0].message == message
    rule = found.problems[0].rule
    assert found.statistics["leakage"]["rows"] == {"leak": 0, "leak-normalised": 0, "leak-near": 0} | {rule: 1}


def test_blank_prompts_ask_nothing() -> None:
    task = PromptCompletion()
    check = Leakage(task, lambda: [EvalRecord("1", " ", "gold"), EvalRecord("2", (), "gold")])
    rows = [CheckedRow(0, Path("a.jsonl"), 1, {}, Example(prompt, "x")) for prompt in (" ", "", ())]
    assert list(check.rows(rows)) == []


def test_conversations_are_compared_too(tmp_path: Path) -> None:
    found = check(tmp_path, [(Message("user", "ice floats on water"),)], ROWS)
    assert found.places == [(NORMALISED, 3, "messages[0].content")]
    found = check(tmp_path, [(Message("user", "Ice floats on water."),)], ROWS)
    assert found.places == [(EXACT, 3, "messages[0].content")]


def test_the_nearest_record_is_named_and_the_others_are_counted(tmp_path: Path) -> None:
    records = [RECORD.replace("severe", "mild"), RECORD.replace("kidney", "heart"), f"{RECORD} Often."]
    found = check(tmp_path, records, [{"prompt": RECORD, "completion": "yes"}])
    assert found.places == [(NEAR, 1, "prompt")]
    assert found.problems[0].message.startswith("nearly record r2, ")
    assert found.problems[0].message.endswith("(similarity 0.88), and like 2 more")


def test_of_a_scifact_prompt_the_hypothesis_is_compared_and_each_document_named_once(tmp_path: Path) -> None:
    assert isinstance(ScifactClaims(), ComparesPrompts)
    records = [scifact(RECORD, 1, 2), scifact("Fire is hot.", 2, 3), scifact("Ice is cold.", 4)]
    rows = [
        {"prompt": scifact("Water is wet.", 5), "completion": "x"},
        {"prompt": scifact("Water is dry.", 6, 3, 2), "completion": "x"},
        {"prompt": scifact(RECORD.lower(), 1), "completion": "x"},
        {"prompt": scifact("Ice is cold.", 4), "completion": "x"},
        {"prompt": scifact("Ice is warm.", 2), "completion": "x"},
    ]
    found = check(tmp_path, records, rows, ScifactClaims())
    assert [(each.code, each.line, each.message) for each in found.problems] == [
        (DOCUMENT, 2, "document 3 is also in the prompt of record r1"),
        (DOCUMENT, 2, "document 2 is also in the prompt of record r0 and 1 more"),
        (NORMALISED, 3, "asks, but for case, punctuation and spacing, what record r0 asks"),
        (DOCUMENT, 3, "document 1 is also in the prompt of record r0"),
        (EXACT, 4, "the prompt of record r2 of the evaluation"),
        (DOCUMENT, 4, "document 4 is also in the prompt of record r2"),
    ]
    assert found.statistics["leakage"]["shared_documents"] == 4


def test_a_scifact_prompt_of_another_form_is_compared_as_a_whole(tmp_path: Path) -> None:
    rows = [{"prompt": "Is ice cold?", "completion": "x"}]
    assert check(tmp_path, ["is ice cold"], rows, ScifactClaims()).places == [(NORMALISED, 1, "prompt")]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path, tmp_path)


def checked(project: Project) -> Passed:
    """What the check that belongs to the project's pipeline file finds."""
    experiment = load_experiment(project.root / "pipeline.yaml", command="validate")
    rows = [json.loads(line) for line in (project.root / "data/train.jsonl").read_text().splitlines()]
    task = PromptCompletion()
    return second_pass(project.root, task, leakage_checks(experiment, task), rows)


def test_rows_are_compared_with_the_records_of_the_evaluations_file(project: Project) -> None:
    assert checked(project).places == [(EXACT, 9, "prompt"), (EXACT, 10, "prompt")]


def test_a_dataset_that_is_evaluated_is_one_problem(project: Project) -> None:
    project.replace("pipeline.yaml", "data_file: data/eval.jsonl", "data_file: data/train.jsonl")
    found = checked(project)
    assert found.places == [(EXACT, None, "")]
    assert "evaluation.data_file is a file of the dataset (train.jsonl)" in found.problems[0].message


def test_a_dataset_that_nothing_is_trained_on_may_be_evaluated(project: Project) -> None:
    project.replace("pipeline.yaml", "data_file: data/eval.jsonl", "data_file: data/train.jsonl")
    project.replace("pipeline.yaml", "training:\n  backend: hf_peft\n  config_path: lora.yaml\n", "")
    project.replace("pipeline.yaml", "evaluation:\n", f"evaluation:\n  base_model: {project.root.as_posix()}\n")
    assert checked(project).problems == []


def test_without_an_evaluation_nothing_is_compared(project: Project) -> None:
    text = (project.root / "pipeline.yaml").read_text()
    project.write("pipeline.yaml", text[: text.index("evaluation:")])
    assert checked(project).statistics == {}


def test_held_out_rows_are_not_compared(project: Project) -> None:
    project.replace("pipeline.yaml", "  data_file: data/eval.jsonl\n", "")
    project.replace("lora.yaml", "  seed: 7\n", "  seed: 7\n  validation_split: 0.2\n")
    assert checked(project).statistics == {}


def test_a_file_of_records_that_is_not_there_yet_is_warned_of(project: Project, caplog: Any) -> None:
    (project.root / "data/eval.jsonl").unlink()
    with caplog.at_level(logging.WARNING, "thinker"):
        assert checked(project).problems == []
    assert "rows are not compared with the records to evaluate: no such file: evaluation.data_file" in caplog.text


def test_records_that_cannot_be_read_are_an_error_that_names_them(project: Project) -> None:
    project.write("data/eval.jsonl", jsonl([{"prompt": "x"}]))
    with pytest.raises(DataError, match=r"eval\.jsonl:1: a row needs"):
        checked(project)


def test_a_task_whose_inputs_are_not_all_named_is_not_compared(project: Project) -> None:
    experiment = load_experiment(project.root / "pipeline.yaml", command="validate")
    assert leakage_checks(experiment, PromptCompletion())
    assert leakage_checks(experiment, ScifactClaims()) == []
