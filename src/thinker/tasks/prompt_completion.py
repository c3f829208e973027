"""Task `prompt_completion`: any rows of `prompt` and `completion`, or of chat `messages`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, get_args

from thinker.config.pipeline_models import EvaluationConfig, SchemaField
from thinker.data.dataset_files import iter_rows
from thinker.errors import DataError
from thinker.evaluation.text_metrics import exact_match, token_f1
from thinker.tasks.base import EvalRecord, Example, LossWeights, Message, Prediction, Role, Scores, WeightSpan

_ROLES: Final[tuple[Role, ...]] = get_args(Role)


class PromptCompletion:
    """The task, as `thinker.tasks.base.Task` describes it."""

    name = "prompt_completion"
    required_inputs: tuple[str, ...] = ()
    default_schema = (
        SchemaField("prompt", "string", required=False),
        SchemaField("completion", "string", required=False),
        SchemaField(
            "messages",
            "array",
            required=False,
            items=SchemaField(
                "item",
                "object",
                fields=(
                    SchemaField("role", "string", enum=_ROLES),
                    SchemaField("content", "string", allow_empty=True),
                ),
            ),
        ),
        SchemaField("metadata", "object", required=False, allow_empty=True),
    )

    def example(self, row: Mapping[str, Any]) -> Example:
        """The row's `prompt` and `completion`; or of its `messages` the last as completion, those before as prompt."""
        prompt, completion, messages = (row.get(key) for key in ("prompt", "completion", "messages"))
        if messages is not None and completion is not None:
            raise ValueError("the row has both `completion` and `messages`; keep one of them")
        if messages is not None:
            return _chat_example(messages)
        if not isinstance(prompt, str) or not isinstance(completion, str):
            raise ValueError("a row needs `prompt` and `completion`, both strings, or `messages`")
        return Example(prompt, completion)

    def weight_spans(self, completion: str, weights: LossWeights) -> tuple[WeightSpan, ...]:
        """None: every token of a completion weighs 1."""
        return ()

    def records(self, evaluation: EvaluationConfig, held_out: Sequence[Mapping[str, Any]]) -> list[EvalRecord]:
        """One record a row of `data_file`, or else of `held_out`.

        A record's id is its row's `id` or `metadata.id`, if every row has one and no two share it; else its line
        (`data_file`) or its number from 1 (`held_out`).
        """
        rows = list(_placed_rows(evaluation, held_out))
        ids = _own_ids([row for _, _, row in rows]) or [str(number) for number, _, _ in rows]
        records: list[EvalRecord] = []
        for record_id, (_, place, row) in zip(ids, rows, strict=True):
            try:
                example = self.example(row)
            except ValueError as error:
                raise DataError(f"{place}: {error}") from error
            records.append(EvalRecord(record_id, example.prompt, example.completion))
        return records

    def score(self, predictions: Sequence[Prediction]) -> Scores:
        """`exact_match` (a count) and its rate; `token_f1`, the mean over records. None over no records."""
        per_record = tuple(
            {
                "expected": each.record.gold,
                "exact_match": exact_match(each.completion, each.record.gold),
                "token_f1": token_f1(each.completion, each.record.gold),
            }
            for each in predictions
        )
        total, matches = len(per_record), sum(each["exact_match"] for each in per_record)
        return Scores(
            {
                "total": total,
                "exact_match": matches,
                "exact_match_rate": matches / total if total else None,
                "token_f1": sum(each["token_f1"] for each in per_record) / total if total else None,
            },
            per_record,
        )


def _chat_example(messages: object) -> Example:
    if not isinstance(messages, list) or len(messages) < 2:
        raise ValueError("`messages` must be a list of at least two: what is asked, and the assistant's answer")
    turns = tuple(_message(value, f"messages[{index}]") for index, value in enumerate(messages))
    if turns[-1].role != "assistant":
        raise ValueError(f"the last of `messages`, the completion, must be the assistant's, not the {turns[-1].role}'s")
    if not turns[-1].content.strip():
        raise ValueError("the last of `messages`, the completion, is blank")
    return Example(turns[:-1], turns[-1].content)


def _message(value: object, place: str) -> Message:
    if not isinstance(value, dict):
        raise ValueError(f"`{place}` must be an object with `role` and `content`")
    role = next((role for role in _ROLES if role == value.get("role")), None)
    content = value.get("content")
    if role is None:
        raise ValueError(f"`{place}.role` must be one of {', '.join(_ROLES)}")
    if not isinstance(content, str):
        raise ValueError(f"`{place}.content` must be a string")
    return Message(role, content)


def _placed_rows(
    evaluation: EvaluationConfig, held_out: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    """(number, place, row) of each row to evaluate."""
    path = evaluation.data_file
    if path is None and not held_out:
        raise DataError(
            "nothing to evaluate on: set `evaluation.data_file` (pipeline file) to a JSONL of rows, or "
            "`data.validation_split` (LoRA file) to hold rows out of training"
        )
    if path is None:
        yield from ((number, f"held-out row {number}", row) for number, row in enumerate(held_out, start=1))
        return
    empty = True
    for row in iter_rows(path):
        empty = False
        yield row.line, f"{path}:{row.line}", row.value
    if empty:
        raise DataError(f"{path}: no rows in it to evaluate on")


def _own_ids(rows: Sequence[Mapping[str, Any]]) -> list[str] | None:
    """The ids that the rows carry, if each has one and no two share it."""
    ids = [_own_id(row) for row in rows]
    known = [each for each in ids if each is not None]
    return known if len(set(known)) == len(rows) else None


def _own_id(row: Mapping[str, Any]) -> str | None:
    metadata = row.get("metadata")
    candidates = (row.get("id"), metadata.get("id") if isinstance(metadata, dict) else None)
    return next((str(each) for each in candidates if isinstance(each, str | int) and not isinstance(each, bool)), None)
