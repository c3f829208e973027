"""Whether training would take the steps that its schedule supposes."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from thinker.config.recipe_models import Recipe
from thinker.data.plan import Plan
from thinker.data.prepare import plan_of, split_kept
from thinker.validation.preflight import CheckedRow, Found


class PlannedSteps:
    """The check of the plan, which is made here as training makes it.

    Args:
        recipe: what the plan follows from.
        lengths: for each row in file order, its number of ids, 0 where training drops it, filled by a check that runs
            before; None where no tokenizer was found: then no row counts as dropped.
    """

    rules: tuple[str, ...] = ("no-steps", "warmup")

    def __init__(self, recipe: Recipe, lengths: array[int] | None) -> None:
        self._recipe, self._lengths = recipe, lengths
        self._rows = 0
        self._figures: dict[str, Any] = {}

    def rows(self, batch: Sequence[CheckedRow]) -> Iterable[Found]:
        """Nothing: a row says nothing of the plan."""
        self._rows += len(batch)
        return ()

    def finish(self) -> Iterable[Found]:
        """Whether there are steps, and more of them than warm-up takes."""
        lengths = self._lengths
        total = self._rows if lengths is None else len(lengths)
        if total == 0:
            return  # other checks say why
        kept = range(total) if lengths is None else [row for row, length in enumerate(lengths) if length]
        try:
            train, held_out = split_kept(self._recipe, kept, total)
        except ValueError as error:
            yield Found("no-steps", f"training would take no optimizer step: {error}{_dropped(total - len(kept))}")
            return
        plan = plan_of(self._recipe, len(train))
        warmup = self._recipe.training.warmup_steps
        if warmup >= len(plan):
            yield Found(
                "warmup",
                f"training.warmup_steps is {warmup}, but training takes {len(plan)} optimizer steps: the learning rate "
                "would rise to the end and never reach training.learning_rate",
            )
        self._figures = {
            "steps": len(plan),
            "rows": len(train),
            "held_out_rows": len(held_out),
            "padding_share": None if lengths is None else _padding_share(plan, [lengths[kept[row]] for row in train]),
        }

    def statistics(self) -> Mapping[str, Any]:
        """`plan`: steps, rows trained on and held out, and how much of the first pass would be padding."""
        return {"plan": self._figures} if self._figures else {}


def _dropped(count: int) -> str:
    return f" ({count} dropped as longer than training.max_seq_length)" if count else ""


def _padding_share(plan: Plan, lengths: Sequence[int]) -> float:
    """Padding among the tokens of the first pass, were each micro-batch padded to its longest row."""
    tokens = padded = 0
    for index in range(min(len(plan), plan.steps_per_epoch)):
        for micro_batch in plan.step(index).micro_batches:
            for rows in filter(None, micro_batch):
                of_rows = [lengths[row] for row in rows]
                tokens += sum(of_rows)
                padded += len(rows) * max(of_rows)
    return round(1 - tokens / padded, 4)
