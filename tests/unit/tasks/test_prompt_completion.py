from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thinker.config.pipeline_models import EvaluationConfig
from thinker.errors import DataError
from thinker.plugins import resolve
from thinker.tasks.base import Example, LossWeights, Message, Prediction, Task
from thinker.tasks.prompt_completion import PromptCompletion

PAIR = {"prompt": "2+2?", "completion": "4"}
USER = {"role": "user", "content": "2+2?"}
ASSISTANT = {"role": "assistant", "content": "4"}
NO_FILE = EvaluationConfig()


def data_file(tmp_path: Path, *rows: dict[str, Any]) -> EvaluationConfig:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return EvaluationConfig(data_file=path)


def ids(evaluation: EvaluationConfig, held_out: list[dict[str, Any]] | None = None) -> list[str]:
    return [record.record_id for record in PromptCompletion().records(evaluation, held_out or [])]


def test_the_registry_has_the_task_and_it_needs_no_input() -> None:
    task: Task = resolve("tasks", "prompt_completion")()
    assert task.name == "prompt_completion"
    assert task.required_inputs == ()


def test_a_pair_is_an_example() -> None:
    assert PromptCompletion().example(PAIR) == Example("2+2?", "4")


def test_the_last_of_messages_is_the_completion() -> None:
    system = {"role": "system", "content": ""}
    assert PromptCompletion().example({"messages": [system, USER, ASSISTANT, USER, ASSISTANT]}) == Example(
        (Message("system", ""), Message("user", "2+2?"), Message("assistant", "4"), Message("user", "2+2?")), "4"
    )


def test_messages_beside_a_prompt_without_completion_are_the_example() -> None:
    assert PromptCompletion().example({"prompt": "x", "messages": [USER, ASSISTANT]}).completion == "4"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "a row needs `prompt` and `completion`, both strings, or `messages`"),
        ({"prompt": "x"}, "a row needs `prompt` and `completion`"),
        ({"prompt": "x", "completion": 1}, "a row needs `prompt` and `completion`"),
        (PAIR | {"messages": [USER, ASSISTANT]}, "both `completion` and `messages`"),
        ({"messages": "x"}, "a list of at least two"),
        ({"messages": [ASSISTANT]}, "a list of at least two"),
        ({"messages": [USER, "x"]}, r"`messages\[1\]` must be an object"),
        ({"messages": [USER, {"role": "tool", "content": "4"}]}, r"`messages\[1\]\.role` must be one of system, user"),
        ({"messages": [USER, {"role": ["user"], "content": "4"}]}, r"`messages\[1\]\.role` must be one of"),
        ({"messages": [{"role": "user"}, ASSISTANT]}, r"`messages\[0\]\.content` must be a string"),
        ({"messages": [USER, USER]}, "the completion, must be the assistant's, not the user's"),
        ({"messages": [USER, {"role": "assistant", "content": " "}]}, "the completion, is blank"),
    ],
)
def test_a_row_that_is_neither_says_why(row: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PromptCompletion().example(row)


def test_all_weights_are_one() -> None:
    assert PromptCompletion().weight_spans("CLAIM[c1]: x", LossWeights(5, 2)) == ()


def test_the_data_file_goes_before_held_out_rows(tmp_path: Path) -> None:
    (record,) = PromptCompletion().records(data_file(tmp_path, PAIR), [PAIR, PAIR])
    assert (record.prompt, record.gold) == ("2+2?", "4")


def test_held_out_rows_are_evaluated_without_a_data_file() -> None:
    records = PromptCompletion().records(NO_FILE, [PAIR, {"messages": [USER, ASSISTANT]}])
    assert [record.prompt for record in records] == ["2+2?", (Message("user", "2+2?"),)]
    assert [record.gold for record in records] == ["4", "4"]


def test_nothing_to_evaluate_on_says_what_to_set() -> None:
    with pytest.raises(DataError, match=r"`evaluation\.data_file`.*`data\.validation_split`"):
        PromptCompletion().records(NO_FILE, [])


def test_an_empty_data_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.jsonl: no rows"):
        PromptCompletion().records(data_file(tmp_path), [PAIR])


def test_a_row_that_is_no_example_is_named_by_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.jsonl:2: a row needs"):
        PromptCompletion().records(data_file(tmp_path, PAIR, {"prompt": "x"}), [])
    with pytest.raises(DataError, match="held-out row 1: a row needs"):
        PromptCompletion().records(NO_FILE, [{"prompt": "x"}])


def test_rows_carry_their_own_ids(tmp_path: Path) -> None:
    rows = PAIR | {"id": "a"}, PAIR | {"metadata": {"id": 7}}, PAIR | {"id": 1, "metadata": {"id": 7}}
    assert ids(data_file(tmp_path, *rows)) == ["a", "7", "1"]


@pytest.mark.parametrize("second", [{}, {"id": "2"}, {"id": 2}, {"id": True}, {"id": None, "metadata": None}])
def test_lines_are_ids_where_a_row_lacks_one_or_two_share_one(tmp_path: Path, second: dict[str, Any]) -> None:
    evaluation = data_file(tmp_path, PAIR | {"id": 2}, PAIR | second)
    assert evaluation.data_file is not None
    evaluation.data_file.write_text("\n" + evaluation.data_file.read_text(encoding="utf-8"), encoding="utf-8")
    assert ids(evaluation) == ["2", "3"]


def test_held_out_rows_without_ids_are_numbered() -> None:
    assert ids(NO_FILE, [PAIR, PAIR]) == ["1", "2"]


def test_scores_are_exact_match_and_mean_token_f1() -> None:
    records = PromptCompletion().records(NO_FILE, [{"prompt": "?", "completion": "the cat"}] * 2)
    scores = PromptCompletion().score([Prediction(records[0], " the cat\n"), Prediction(records[1], "The dog!")])
    assert scores.metrics == {"total": 2, "exact_match": 1, "exact_match_rate": 0.5, "token_f1": 0.75}
    assert scores.per_record == (
        {"expected": "the cat", "exact_match": True, "token_f1": 1.0},
        {"expected": "the cat", "exact_match": False, "token_f1": 0.5},
    )
    assert scores.confusion is None


def test_rates_over_no_predictions_are_undefined() -> None:
    assert PromptCompletion().score([]).metrics == {
        "total": 0,
        "exact_match": 0,
        "exact_match_rate": None,
        "token_f1": None,
    }
