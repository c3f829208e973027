"""Rows as token ids, made by the encoder that training uses: what only then can be seen."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from thinker.config.experiment import Experiment
from thinker.config.pipeline_models import CheckLevel
from thinker.config.recipe_models import Recipe
from thinker.data.encode import EncodedExample, Encoder, TextTokenizer
from thinker.data.fit import EncodingHash, FittedRow, fit
from thinker.data.prepare import loss_weights
from thinker.data.tokenizer_files import load_tokenizer_files, model_files
from thinker.errors import PreconditionError
from thinker.tasks.base import Task
from thinker.validation import codes
from thinker.validation.checks.answer_end import generation_stop_ids, other_answer_end
from thinker.validation.checks.planned_steps import PlannedSteps
from thinker.validation.checks.special_text import SpecialText, completion_field
from thinker.validation.preflight import Check, CheckedRow, Found

_NOT_MADE: Final = "no check that counts tokens was made"


def token_checks(
    experiment: Experiment, task: Task, cache_dir: Path, tokenizer: TextTokenizer | None = None
) -> list[Check]:
    """The checks that need token ids, and that of the plan, which needs their number; none without a recipe.

    Args:
        experiment: the configuration.
        task: how rows are read and weighted.
        cache_dir: where the tokenizer of a `.gguf` model is unpacked.
        tokenizer: the model's; None finds it among the files on this machine, with the settings of generation.
    """
    recipe = experiment.recipe
    if recipe is None:
        return []
    model, stop_ids = recipe.model, frozenset[int]()
    try:
        if tokenizer is None:
            folder = model_files(model.name, model.revision, cache_dir)
            tokenizer = load_tokenizer_files(folder, chat=model.prompt_format == "chat")
            stop_ids = generation_stop_ids(folder)
        if model.prompt_format == "chat" and not tokenizer.chat_template:
            message = f"model.prompt_format is 'chat', and the tokenizer has no chat template: use 'raw'; {_NOT_MADE}"
            return [_Said("no-chat-template", message), PlannedSteps(recipe, None)]
        encoder = Encoder(tokenizer, model.prompt_format)
    except PreconditionError as error:
        return [_Said("no-tokenizer", f"{_NOT_MADE}: {error}"), PlannedSteps(recipe, None)]
    user_levels = experiment.pipeline.data_validation.checks
    check = Tokens(recipe, task, tokenizer, encoder, stop_ids=stop_ids, user_levels=user_levels)
    return [check, PlannedSteps(recipe, check.lengths)]


class Tokens:
    """The check of rows as token ids. Keeps 4 bytes a row.

    Args:
        recipe: limit, policy and weights.
        task: gives the completion's weights.
        tokenizer: the model's.
        encoder: made with it.
        stop_ids: where generation stops, as far as it is known.
        user_levels: levels that the user set, by code.

    Attributes:
        lengths: for each row that can be encoded, its number of ids in training; 0 where it is dropped.
    """

    rules: tuple[str, ...] = (
        "overlong",
        "nothing-to-learn",
        "end-not-learned",
        "special-token",
        "double-bos",
        "boundary",
        "example",
    )

    def __init__(
        self,
        recipe: Recipe,
        task: Task,
        tokenizer: TextTokenizer,
        encoder: Encoder,
        *,
        stop_ids: frozenset[int],
        user_levels: Mapping[str, CheckLevel],
    ) -> None:
        self._recipe, self._task, self._tokenizer, self._encoder = recipe, task, tokenizer, encoder
        self._weights = loss_weights(recipe)
        self._special = SpecialText(tokenizer, encoder.leading_ids)
        self._stop_ids, self._user_levels = stop_ids, user_levels
        self._encoding = EncodingHash()
        self._outcomes = {"kept": 0, "dropped": 0, "truncated": 0, "overlong": 0}
        self._trained = self._longest = self._boundaries = 0
        self._first_boundary: CheckedRow | None = None
        self.lengths = array("I")

    def rows(self, batch: Sequence[CheckedRow]) -> Iterator[Found]:
        """What is wrong with rows as token ids; a row that is dropped as too long is not looked at further."""
        limits = self._recipe.training
        looked_at = []
        for row, encoded in self._encoded(batch):
            if isinstance(encoded, ValueError):
                yield Found("example", f"cannot be read as an example: {encoded}", row)
                continue
            fitted = fit(encoded, limits.max_seq_length, limits.on_overlong, len(self._encoder.leading_ids))
            self._count(fitted)
            if fitted.outcome != "kept":
                yield self._overlong(row, fitted)
            if fitted.outcome != "dropped":
                looked_at.append(row)
                yield from self._of_content(row, encoded)
        yield from self._of_seams(looked_at)

    def finish(self) -> Iterator[Found]:
        """What holds for all rows alike: the end of an answer."""
        problem = other_answer_end(self._tokenizer, self._recipe.model.prompt_format, self._stop_ids)
        if problem and self.lengths:
            yield Found("end-not-learned", problem)

    def statistics(self) -> Mapping[str, Any]:
        """`tokens`: counts and lengths of the rows as training gets them; `encoding_sha256`: hash of their ids."""
        lengths = sorted(filter(None, self.lengths))
        first = self._first_boundary
        return {
            "tokens": {
                "rows": len(lengths),
                "total": sum(lengths),
                "trained": self._trained,
                "length": {
                    "min": lengths[0], "median": _quantile(lengths, 0.5), "p95": _quantile(lengths, 0.95),
                    "max": lengths[-1],
                } if lengths else None,
                "limit": self._recipe.training.max_seq_length,
                "over_limit": len(self.lengths) - self._outcomes["kept"],
                "dropped": self._outcomes["dropped"],
                "truncated": self._outcomes["truncated"],
                "longest": self._longest,
                "dated": self._encoder.is_dated,
                "boundary_rows": self._boundaries,
                "first_boundary": {"file": str(first.file), "line": first.line} if first else None,
            },
            "encoding_sha256": self._encoding.hexdigest(),
        }  # fmt: skip

    def _encoded(self, batch: Sequence[CheckedRow]) -> Iterator[tuple[CheckedRow, EncodedExample | ValueError]]:
        weighted, examples = [], []
        for row in batch:
            try:
                spans = self._task.weight_spans(row.example.completion, self._weights)
            except ValueError as error:
                yield row, error
                continue
            weighted.append(row)
            examples.append((row.example, spans))
        yield from zip(weighted, self._encoder.encode_all(examples), strict=True)

    def _count(self, fitted: FittedRow) -> None:
        self._outcomes[fitted.outcome] += 1
        self._longest = max(self._longest, fitted.whole_length)
        self.lengths.append(0 if fitted.outcome == "dropped" else len(fitted.example.ids))
        if fitted.is_trained_on:
            self._encoding.add(fitted.example)
            self._trained += sum(weight > 0 for weight in fitted.example.weights)

    def _overlong(self, row: CheckedRow, fitted: FittedRow) -> Found:
        limit, policy = self._recipe.training.max_seq_length, self._recipe.training.on_overlong
        excess = fitted.whole_length - limit
        what = f"{fitted.whole_length} tokens, {excess} more than training.max_seq_length ({limit})"
        if fitted.outcome == "dropped":
            what += "; the row is dropped (training.on_overlong: drop)"
        elif fitted.outcome == "truncated":
            what += f"; {excess} tokens are cut from the prompt's left (training.on_overlong: truncate_prompt)"
        elif policy == "truncate_prompt":
            what += f"; the completion alone has {len(fitted.example.weights)}, and is never cut"
        else:
            what += "; raise it, or set training.on_overlong to 'drop' or 'truncate_prompt'"
        # What the recipe asks for is worth a word, but no reason to stop.
        level = None if fitted.outcome == "overlong" else self._warn_unless_set("overlong")
        return Found("overlong", what, row, level=level)

    def _of_content(self, row: CheckedRow, encoded: EncodedExample) -> Iterator[Found]:
        if not any(encoded.weights[:-1]):
            yield self._nothing(row, len(encoded.weights) - 1)
        bos = self._tokenizer.bos_token_id
        if bos is not None and encoded.ids[:2] == [bos, bos]:
            (name,) = self._tokenizer.convert_ids_to_tokens([bos])
            yield Found("double-bos", f"the row begins with '{name}' twice; leave it out of the text", row)
        yield from self._special.found(row)

    def _nothing(self, row: CheckedRow, completion_length: int) -> Found:
        """The end-of-sequence token always carries loss; a row where nothing else does teaches to say nothing."""
        if completion_length == 0:
            message = "the completion has no token: nothing is learned but to end at once"
            return Found("nothing-to-learn", message, row, completion_field(row))
        message = (
            f"all {completion_length} tokens of the completion weigh 0 (training.claim_c1_weight, "
            "training.evidence_weight): nothing is learned but where it ends"
        )
        level = self._warn_unless_set("nothing-to-learn")
        return Found("nothing-to-learn", message, row, completion_field(row), level=level)

    def _warn_unless_set(self, rule: str) -> CheckLevel | None:
        return None if codes.by_slug(rule).code in self._user_levels else "warn"

    def _of_seams(self, rows: Sequence[CheckedRow]) -> Iterator[Found]:
        differs = self._encoder.seams_differ([row.example for row in rows])
        for row in (row for row, differ in zip(rows, differs, strict=True) if differ):
            self._boundaries += 1
            self._first_boundary = self._first_boundary or row
            message = (
                "prompt and completion would be cut into other tokens if they were joined first; end the prompt, or "
                "begin the completion, with white space or a line break"
            )
            yield Found("boundary", message, row)


class _Said:
    """A check that could not be made, and says so."""

    def __init__(self, rule: str, message: str) -> None:
        self.rules: tuple[str, ...] = (rule,)
        self._message = message

    def rows(self, batch: Sequence[CheckedRow]) -> Iterable[Found]:
        """Nothing."""
        return ()

    def finish(self) -> Iterable[Found]:
        """Why it was not made."""
        return (Found(self.rules[0], self._message),)

    def statistics(self) -> Mapping[str, Any]:
        """None."""
        return {}


def _quantile(ascending: Sequence[int], share: float) -> int:
    """The nearest-rank quantile: the least value that `share` of all do not exceed."""
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)]
