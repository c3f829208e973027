"""The plan's micro-batches as the Trainer iterates over a data loader."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from thinker.data.encode import EncodedExample
from thinker.data.encoded_rows import EncodedRows
from thinker.data.plan import Plan, Rows
from thinker.training.hf_peft.loss import Batch, Collate


class MicroBatch(NamedTuple):
    """What one process computes at a time.

    Attributes:
        rows: of the plan, for this process.
        step_rows: all rows of the optimizer step that it belongs to.
    """

    rows: Rows
    step_rows: Rows


class PlanLoader(DataLoader[Batch]):
    """The micro-batches of one process, epoch by epoch, as the Trainer iterates over a data loader.

    A resumed epoch begins in its middle: accelerate's `skip_first_batches` takes this loader apart and puts a sampler
    before its own that leaves out the first micro-batches. No row of those is read or collated.

    Args:
        rows: the encoded rows.
        train_rows: for each row of the plan, its index in `rows`.
        plan: the optimizer steps.
        collate: makes the micro-batches.
        rank: of this process.
        ended: give none at all: training was over when the checkpoint was written that it resumes from.
    """

    def __init__(
        self,
        rows: EncodedRows,
        train_rows: Sequence[int],
        plan: Plan,
        collate: Collate,
        rank: int = 0,
        *,
        ended: bool = False,
    ) -> None:
        self._places = _Places(plan, rank, ended=ended)
        super().__init__(
            _Batches(rows, train_rows, collate),
            batch_sampler=self._places,
            collate_fn=_only,
            generator=torch.Generator(),  # or each epoch would draw from the global one, for seeds of workers
        )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration goes through."""
        self._places.set_epoch(epoch)


class _Places(Sampler[list[MicroBatch]]):
    """The plan's micro-batches, each alone in a list, as torch's loader takes them."""

    def __init__(self, plan: Plan, rank: int, *, ended: bool) -> None:
        self._plan, self._rank, self._ended = plan, rank, ended
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; called here by the Trainer where the loader itself was taken apart."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Micro-batches in a whole epoch."""
        return math.ceil(self._plan.row_count / (self._plan.micro_batch_size * self._plan.world_size))

    def __iter__(self) -> Iterator[list[MicroBatch]]:
        first = self._epoch * self._plan.steps_per_epoch
        end = 0 if self._ended else min(first + self._plan.steps_per_epoch, len(self._plan))
        for index in range(first, end):
            step = self._plan.step(index)
            for rows in step.of_rank(self._rank):
                yield [MicroBatch(rows, step.rows)]


class _Batches(Dataset[Batch]):
    """Micro-batches, collated when asked for; its length is the number of rows, which the Trainer reports."""

    def __init__(self, rows: EncodedRows, train_rows: Sequence[int], collate: Collate) -> None:
        self._rows, self._train_rows, self._collate = rows, train_rows, collate

    def __len__(self) -> int:
        return len(self._train_rows)

    def __getitem__(self, place: MicroBatch) -> Batch:
        step_weight = math.fsum(self._rows.weight_sums[self._train_rows[row]] for row in place.step_rows)
        examples = [self._rows[self._train_rows[row]] for row in place.rows]
        if not examples:
            examples = [without_loss(self._rows[self._train_rows[place.step_rows[0]]])]
        return self._collate(examples, step_weight)


def without_loss(example: EncodedExample) -> EncodedExample:
    """For a process that has no row left while others have: it must take part in what they compute together."""
    return EncodedExample(example.ids, [0.0] * len(example.weights))


def _only(batches: list[Batch]) -> Batch:
    (batch,) = batches
    return batch
