"""One process among those that train together, as its launcher's environment variables tell."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from thinker.errors import PreconditionError

# What torchrun, `accelerate launch`, DeepSpeed's and MPI's launchers tell a process about the others and about how to
# train with them. https://docs.pytorch.org/docs/stable/elastic/run.html#environment-variables
_LAUNCHERS_VARIABLES: Final = frozenset((
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK",
    "ROLE_WORLD_SIZE", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT", "CROSS_RANK", "CROSS_SIZE",
))  # fmt: skip
_LAUNCHERS_PREFIXES: Final = (
    "TORCHELASTIC_", "ACCELERATE_", "FSDP_", "DEEPSPEED_", "PARALLELISM_CONFIG_", "PMI_", "OMPI_COMM_", "MV2_COMM_",
)  # fmt: skip


@dataclass(frozen=True)
class World:
    """One process among all that train together.

    Attributes:
        rank: its number, from 0; process 0 runs the gate, writes and evaluates.
        size: how many there are.
        local_rank: its number among those of this machine, from 0: the accelerator that it drives.
        local_size: how many there are on this machine.
        node: the machine's number, from 0.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    node: int = 0

    @classmethod
    def of_environment(cls, variables: Mapping[str, str] | None = None) -> World:
        """What the launcher says; one process alone where there is none.

        Raises:
            PreconditionError: it says so halfway only.
        """
        found = os.environ if variables is None else variables
        size = _number(found, "WORLD_SIZE", 1)
        if size <= 1:
            return cls()
        missing = [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if not found.get(name)]
        if missing:
            raise PreconditionError(
                f"WORLD_SIZE is {size}, but the environment lacks {', '.join(missing)}: start several processes with "
                "torchrun or accelerate launch, which set them; to start one, unset WORLD_SIZE"
            )
        rank, local_rank = _number(found, "RANK"), _number(found, "LOCAL_RANK")
        local_size = _number(found, "LOCAL_WORLD_SIZE", size)
        node = _number(found, "GROUP_RANK", rank // local_size)
        if not (rank < size and local_rank < local_size):
            raise PreconditionError(
                f"the launcher's variables contradict each other: process {rank} of {size}, {local_rank} of "
                f"{local_size} on its machine"
            )
        return cls(rank, size, local_rank, local_size, node)

    @property
    def is_main(self) -> bool:
        """Whether this is process 0."""
        return self.rank == 0

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Let what runs meanwhile (the test suite, an evaluation, a probe) find no others to wait for."""
        if self.size == 1:
            yield
            return
        taken = {name: os.environ.pop(name) for name in list(os.environ) if _is_launchers(name)}
        try:
            yield
        finally:
            os.environ.update(taken)


def _is_launchers(name: str) -> bool:
    return name in _LAUNCHERS_VARIABLES or name.startswith(_LAUNCHERS_PREFIXES)


def _number(variables: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = variables.get(name, "")
    if not text and default is not None:
        return default
    if not text.strip().isdigit():
        raise PreconditionError(f"the environment variable {name} must be a whole number, not '{text}'")
    return int(text)
