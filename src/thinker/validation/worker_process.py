"""A worker process as seen by the process that starts it, and the memory that the two share.

The memory is a mapped temporary file. Neither `multiprocessing` nor its shared memory would do: the one runs a script's
own code again in each worker, the other's resource tracker takes the memory away from processes it does not know.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import mmap
import os
import struct
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

import thinker
from thinker.config.pipeline_models import SchemaField
from thinker.data.blocks import BLOCK_BYTES
from thinker.validation import worker
from thinker.validation.fast_rows import SUSPECTS, Verdict
from thinker.validation.worker import ANSWER, ANSWERED, HEADER_BYTES, JOB, READY

log = logging.getLogger("thinker")

# Blocks that may wait for a worker: so many that it has work while this process looks at one itself.
_SLOTS: Final = 6
# A block may be longer than asked for by the beginning of a line.
_SLOT_BYTES: Final = 2 * BLOCK_BYTES
_GOODBYE_S: Final = 5.0


class WorkerProcess:
    """A process that looks at blocks; use it in a `with` statement.

    Raises:
        OSError: there is no room for the memory, or the process cannot be started.
    """

    def __init__(self, schema: Sequence[SchemaField]) -> None:
        self._submitted = 0
        self._received = 0
        self._dead = False
        self._path = _new_file(HEADER_BYTES + _SLOTS * _SLOT_BYTES)
        try:
            with self._path.open("r+b") as file:
                self._memory = mmap.mmap(file.fileno(), 0)
            self._jobs, self._answers, self._process = _start()
        except OSError:
            self._path.unlink()
            raise
        fields = [dataclasses.asdict(field) for field in schema]
        self._send(json.dumps({"schema": fields, "memory": str(self._path)}).encode() + b"\n")

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None and self._process.poll() is not None:
            self._end()
        if error is not None or not self._memory[READY]:
            self._process.kill()
        with contextlib.suppress(OSError):
            self._jobs.close()  # tells the worker that there is no more
        self._exit_code()
        self._answers.close()
        self._memory.close()
        self._path.unlink(missing_ok=True)

    def has_room_for(self, block: bytes) -> bool:
        """Whether the worker is there, and can take `block`."""
        waiting = (self._submitted - self._memory[ANSWERED]) % 256
        return bool(self._memory[READY]) and not self._dead and waiting < _SLOTS and len(block) <= _SLOT_BYTES

    def submit(self, block: bytes) -> None:
        """Hand over a block for which there is room; no more than 200 answers may be outstanding."""
        offset = HEADER_BYTES + self._submitted % _SLOTS * _SLOT_BYTES
        self._memory[offset : offset + len(block)] = block
        self._submitted += 1
        self._send(JOB.pack(offset, len(block)))

    def has_answered(self) -> bool:
        """Whether `answer` need not wait."""
        return self._dead or self._memory[ANSWERED] != self._received % 256

    def answer(self) -> Verdict | None:
        """The verdict on the oldest block without one; None if the worker ended before it came to that block."""
        suspects = array(SUSPECTS)
        try:
            lines, count = ANSWER.unpack(self._answers.read(ANSWER.size))
            suspects.frombytes(self._answers.read(count * suspects.itemsize))
        except (struct.error, ValueError):  # the pipe ended early
            self._end()
            return None
        self._received += 1
        return Verdict(lines, suspects)

    def _send(self, message: bytes) -> None:
        try:
            self._jobs.write(message)
            self._jobs.flush()
        except OSError:
            self._end()

    def _end(self) -> None:
        if not self._dead:
            self._dead = True
            code = self._exit_code()
            log.warning(
                "a process that helped to check the dataset ended early (exit code %d); others do its work", code
            )

    def _exit_code(self) -> int:
        try:
            return self._process.wait(_GOODBYE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def _new_file(size_bytes: int) -> Path:
    """A temporary file with room on the disk for all its bytes, as a mapped one must have."""
    number, name = tempfile.mkstemp(prefix="thinker-blocks-")
    with os.fdopen(number, "wb") as file:
        file.write(bytes(size_bytes))
    return Path(name)


def _start() -> tuple[IO[bytes], IO[bytes], subprocess.Popen[bytes]]:
    """A worker, and the pipes to it and from it."""
    # A script may have found Thinker by a path of its own; it must not be in the way with a module called `json`.
    home = str(Path(thinker.__file__).parent.parent)
    path = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", worker.__name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,  # so that Ctrl-C reaches this process alone
    )
    assert process.stdin is not None, "asked for"
    assert process.stdout is not None, "asked for"
    return process.stdin, process.stdout, process
