"""Verdicts on the blocks of a dataset, in its order, from as many processes as are worth starting."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from thinker.config.pipeline_models import SchemaField
from thinker.validation.dataset_blocks import PlacedBlock
from thinker.validation.fast_rows import FastRows, Verdict
from thinker.validation.worker_process import WorkerProcess

log = logging.getLogger("thinker")

# Below this a worker would be there too late to be of use.
_WORTH_WORKERS_BYTES: Final = 32 << 20
_MOST_WORKERS: Final = 3
# Blocks that were read and whose verdict is not yet passed on: what a worker's delay may cost in memory.
_MOST_PENDING: Final = 32


def worker_count(size_bytes: int) -> int:
    """How many processes to start beside this one for a dataset of that size."""
    if size_bytes < _WORTH_WORKERS_BYTES or not sys.executable:
        return 0
    return min(_usable_cores() - 1, _MOST_WORKERS)


def verdicts(
    blocks: Iterable[PlacedBlock], rows: FastRows, schema: Sequence[SchemaField], workers: int
) -> Generator[tuple[PlacedBlock, Verdict], None, None]:
    """Each block with the verdict on it, in order.

    Args:
        blocks: in the dataset's order; they are read ahead of the verdicts.
        rows: looks at blocks in this process.
        schema: what `rows` was made of.
        workers: processes to start; this one does what they have no time for.
    """
    with contextlib.ExitStack() as stack:
        processes = list(_started(workers, schema, stack))
        pending: deque[_Pending] = deque()
        for block in blocks:
            worker = next((each for each in processes if each.has_room_for(block.data)), None)
            if worker is None:
                pending.append(_Pending(block, verdict=rows.verdict(block.data)))
            else:
                worker.submit(block.data)
                pending.append(_Pending(block, worker))
            while pending and (pending[0].is_ready or len(pending) > _MOST_PENDING):
                yield pending.popleft().result(rows)
        while pending:
            yield pending.popleft().result(rows)


@dataclass(frozen=True)
class _Pending:
    """A block, and who has or makes the verdict on it."""

    block: PlacedBlock
    worker: WorkerProcess | None = None
    verdict: Verdict | None = None

    @property
    def is_ready(self) -> bool:
        return self.worker is None or self.worker.has_answered()

    def result(self, rows: FastRows) -> tuple[PlacedBlock, Verdict]:
        """To be asked in the order of the blocks."""
        found = self.worker.answer() if self.worker else self.verdict
        return self.block, found or rows.verdict(self.block.data)


def _started(workers: int, schema: Sequence[SchemaField], stack: contextlib.ExitStack) -> Iterator[WorkerProcess]:
    for _ in range(workers):
        try:
            yield stack.enter_context(WorkerProcess(schema))
        except OSError as error:
            log.warning("checking the dataset with fewer processes than cores: %s", error)
            return


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
