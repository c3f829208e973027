"""The rows of an optimizer step: what they take, and where they stand in the dataset's files."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import NamedTuple

from thinker.config.source import shown_path
from thinker.errors import DataError
from thinker.training.base import TrainingContext
from thinker.training.workload import BatchShape, Dimensions

log = logging.getLogger("thinker")
_SHOWN = 16


class StepWork(NamedTuple):
    """What one optimizer step takes, over all processes.

    Attributes:
        tokens: that go through the model; padding is not counted.
        trained_tokens: those among them that carry loss.
        flops: floating-point operations that the rows need, each by itself and nothing computed twice.
    """

    tokens: int
    trained_tokens: int
    flops: int


@dataclass(frozen=True)
class StepRows:
    """The rows of each step of the plan.

    Attributes:
        context: plan and rows.
        size: the model's.
    """

    context: TrainingContext
    size: Dimensions

    def indices(self, step: int) -> list[int]:
        """Indices in the encoded rows; `step` counts from 0."""
        return [self.context.train_rows[row] for row in self.context.plan.step(step).rows]

    def work(self, step: int) -> StepWork:
        """What the step takes."""
        rows, indices = self.context.rows, self.indices(step)
        shapes = [BatchShape((rows.lengths[row],), rows.trained_tokens[row]) for row in indices]
        return StepWork(
            tokens=sum(shape.tokens for shape in shapes),
            trained_tokens=sum(shape.targets for shape in shapes),
            flops=sum(self.size.training_flops(shape, checkpointing=False) for shape in shapes),
        )

    def places(self, step: int) -> str:
        """The step's rows as `FILE:LINE`, in the order of the files; the dataset is read again for it."""
        numbers = sorted({self.context.rows.row_numbers[row] for row in self.indices(step)})
        found: dict[int, str] = {}
        try:
            for row in self.context.experiment.dataset.parsed():
                if row.number in numbers:
                    found[row.number] = f"{shown_path(row.file)}:{row.raw.number}"
                if row.number >= numbers[-1]:
                    break
        except (DataError, OSError) as error:
            log.warning("the lines of the step's rows cannot be looked up: %s", error)
        shown = [found.get(number, f"row {number + 1}") for number in numbers[:_SHOWN]]
        more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
        return ", ".join(shown) + more
