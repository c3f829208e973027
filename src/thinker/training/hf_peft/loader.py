"""The plan's micro-batches as the Trainer iterates over a data loader."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from thinker.data.encoded_rows import EncodedRows
from thinker.data.plan import Plan
from thinker.training.hf_peft.loss import Collator

Batch = dict[str, torch.Tensor]


class PlanLoader:
    """The micro-batches of one process, epoch by epoch, as the Trainer iterates over a data loader.

    Attributes:
        batch_size: rows in a full micro-batch.
        dataset: the rows; the Trainer asks it for its length.
    """

    def __init__(
        self, rows: EncodedRows, train_rows: Sequence[int], plan: Plan, collator: Collator, rank: int = 0
    ) -> None:
        self.dataset = train_rows
        self.batch_size = plan.micro_batch_size
        self._rows, self._train_rows, self._plan, self._collator, self._rank = rows, train_rows, plan, collator, rank
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration goes through."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Micro-batches in a whole epoch."""
        return math.ceil(self._plan.row_count / (self._plan.micro_batch_size * self._plan.world_size))

    def __iter__(self) -> Iterator[Batch]:
        first = self._epoch * self._plan.steps_per_epoch
        for index in range(first, min(first + self._plan.steps_per_epoch, len(self._plan))):
            step = self._plan.step(index)
            step_weight = math.fsum(self._rows.weight_sums[self._train_rows[row]] for row in step.rows)
            for rows in step.of_rank(self._rank):
                yield self._collator([self._rows[self._train_rows[row]] for row in rows], step_weight)
