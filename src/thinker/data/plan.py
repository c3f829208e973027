"""The plan: which rows make up which optimizer step, as a pure function of a few numbers.

Every backend follows the same plan, so that a recipe means the same everywhere. The order of an epoch sorts the rows
by a keyed hash of (seed, epoch, row): no library's random generator has a say in it, and any epoch can be had without
the ones before it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

Rows = tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """One optimizer step.

    Attributes:
        index: place in the plan, from 0.
        epoch: the pass over the rows that it belongs to, from 0.
        micro_batches: for each micro-batch, for each rank, the row indices; a rank may get none in the last ones.
    """

    index: int
    epoch: int
    micro_batches: tuple[tuple[Rows, ...], ...]

    @property
    def rows(self) -> Rows:
        """All rows of the step, in the order in which they were dealt."""
        return tuple(row for micro_batch in self.micro_batches for rows in micro_batch for row in rows)

    def of_rank(self, rank: int) -> tuple[Rows, ...]:
        """The micro-batches of one process."""
        return tuple(micro_batch[rank] for micro_batch in self.micro_batches)


@dataclass(frozen=True)
class Plan:
    """All optimizer steps of a run. `len(plan)` is their number; steps are computed when asked for.

    Attributes:
        row_count: rows to train on; the plan speaks of them as 0 … row_count - 1.
        shuffle: a new order in each epoch, or the order of the file.
        seed: of the order.
        epochs: passes over the rows; a fraction ends within a pass.
        micro_batch_size: rows in a micro-batch of one process.
        accumulation: micro-batches in a step.
        world_size: processes.
        max_steps: upper bound on the number of steps, or None.
    """

    row_count: int
    shuffle: bool
    seed: int
    epochs: float
    micro_batch_size: int
    accumulation: int
    world_size: int = 1
    max_steps: int | None = None

    def __post_init__(self) -> None:
        for name in ("row_count", "epochs", "micro_batch_size", "accumulation", "world_size"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")

    @property
    def global_batch_size(self) -> int:
        """Rows in a full step, over all processes."""
        return self.micro_batch_size * self.accumulation * self.world_size

    @property
    def steps_per_epoch(self) -> int:
        """Steps in a whole pass; the last of them may be short."""
        return math.ceil(self.row_count / self.global_batch_size)

    def __len__(self) -> int:
        steps = math.ceil(self.steps_per_epoch * self.epochs)
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def __iter__(self) -> Iterator[Step]:
        return (self.step(index) for index in range(len(self)))

    def step(self, index: int) -> Step:
        """Step `index` of the plan, counted from 0.

        Raises:
            IndexError: the plan has no such step.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"the plan has {len(self)} steps, no step {index}")
        epoch, position = divmod(index, self.steps_per_epoch)
        order = epoch_order(self.row_count, self.shuffle, self.seed, epoch)
        rows = order[position * self.global_batch_size : (position + 1) * self.global_batch_size]
        across_ranks = self.micro_batch_size * self.world_size
        micro_batches = tuple(
            self._deal(rows[start : start + across_ranks]) for start in range(0, len(rows), across_ranks)
        )
        return Step(index, epoch, micro_batches)

    def _deal(self, rows: Sequence[int]) -> tuple[Rows, ...]:
        size = self.micro_batch_size
        return tuple(tuple(rows[rank * size : (rank + 1) * size]) for rank in range(self.world_size))


@lru_cache(maxsize=2)
def epoch_order(row_count: int, shuffle: bool, seed: int, epoch: int) -> Rows:
    """The order of the rows in one epoch, a permutation of range(row_count)."""
    if not shuffle:
        return tuple(range(row_count))
    return tuple(sorted(range(row_count), key=lambda row: (_key("order", seed, epoch, row), row)))


def split_rows(row_count: int, held_out_fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Rows to train on and rows held out, both ascending: a seeded choice of round(row_count · fraction) rows.

    At least one row is held out where the fraction is positive, and at least one is left to train on.

    Raises:
        ValueError: a positive fraction of fewer than two rows.
    """
    if held_out_fraction <= 0:
        return tuple(range(row_count)), ()
    if row_count < 2:
        raise ValueError(f"cannot hold out a part of {row_count} row(s)")
    count = min(max(1, round(row_count * held_out_fraction)), row_count - 1)
    by_key = sorted(range(row_count), key=lambda row: (_key("split", seed, 0, row), row))
    held_out = frozenset(by_key[:count])
    return tuple(row for row in range(row_count) if row not in held_out), tuple(sorted(held_out))


def _key(purpose: str, seed: int, epoch: int, row: int) -> bytes:
    return hashlib.blake2b(f"{purpose}:{seed}:{epoch}:{row}".encode(), digest_size=16).digest()
