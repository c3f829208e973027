"""A process that looks at blocks for the one that started it (`worker_process`), through memory that they share.

It is told the schema and the memory's file in a line of JSON, then where in it a block lies, one after the other; it
answers each with the verdict. It imports little, so that it is there soon.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Final

from thinker.validation.fast_rows import FastRows, Verdict

# A block's offset and size in the shared memory; a verdict's number of lines and of suspects, which follow.
JOB: Final = struct.Struct("=QQ")
ANSWER: Final = struct.Struct("=II")
# The first bytes of the shared memory: how many blocks were answered, modulo 256, and whether the worker is there.
ANSWERED: Final = 0
READY: Final = 1
HEADER_BYTES: Final = 64


def main() -> None:
    """Answer until there are no more blocks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it decides when it ends
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what is printed by mistake is no answer
    jobs = sys.stdin.buffer
    setup = json.loads(jobs.readline(), object_hook=lambda entries: SimpleNamespace(**entries))
    rows = FastRows.of_fields(setup.schema)
    place = Path(setup.memory)
    with place.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        with contextlib.suppress(PermissionError):  # Windows; elsewhere it now goes with the two processes
            place.unlink()
        memory[READY] = 1
        answered = 0
        while job := jobs.read(JOB.size):
            offset, size = JOB.unpack(job)
            answers.write(_packed(rows.verdict(memory[offset : offset + size])))
            answers.flush()
            answered += 1
            memory[ANSWERED] = answered % 256


def _packed(verdict: Verdict) -> bytes:
    return ANSWER.pack(verdict.lines, len(verdict.suspects)) + verdict.suspects.tobytes()


if __name__ == "__main__":
    main()
