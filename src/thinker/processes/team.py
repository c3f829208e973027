"""How processes that train together start and end together.

They meet at the key-value store of the launcher (`torch.distributed`'s; process 0 keeps one where the launcher has
none), long before training needs a process group: waiting there costs nothing and has no time limit, however long the
gate takes. A thread in each process watches what the others say there, since the main thread may be in a collective
operation that will never end.
"""

from __future__ import annotations

import _thread
import contextlib
import json
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Final

from thinker.errors import EXIT_INTERRUPTED, EXIT_UNEXPECTED, PreconditionError, ThinkerError, error_of
from thinker.processes.world import World

_POLL_S: Final = 0.2
# A process that has died, or whose machine is gone, is silent for longer than this; one that works never is.
_SILENCE_S: Final = 3.0
# How long an interrupted process may take to come back from whatever it does, before it is ended from outside.
_GRACE_S: Final = 10.0
_CONNECT: Final = timedelta(minutes=10)


@dataclass(frozen=True)
class Failure:
    """What ended another process."""

    rank: int
    host: str
    exit_code: int
    message: str

    def error(self, size: int) -> ThinkerError:
        """As an error of this process, with the same exit code."""
        return error_of(self.exit_code, f"process {self.rank} of {size} (on {self.host}): {self.message}")


class Team:
    """The processes of one run, as one of them sees the others. Alone, it does nothing.

    Process 0 leads: it says when the others may start (`release`), and what all of them end with (`finish`). The others
    wait for it, and tell it when they fail.

    Attributes:
        world: this process among them.
        on_lost: for process 0: called with the error of another process where it cannot act on it itself, before it is
            ended; closes the record.
    """

    def __init__(self, world: World, board: _Board | None = None) -> None:
        self.world = world
        self.on_lost: Callable[[ThinkerError], object] = lambda error: None
        self._board = board
        self._ending = threading.Event()
        # A daemon: an error that no one foresaw must not leave a process that never ends.
        self._watcher = threading.Thread(target=self._watch, name="thinker-team", daemon=True)

    @classmethod
    def alone(cls) -> Team:
        """One process."""
        return cls(World())

    @classmethod
    def join(cls, world: World) -> Team:
        """Meet the others.

        Raises:
            PreconditionError: process 0's machine does not answer.
        """
        if world.size == 1:
            return cls(world)
        team = cls(world, _Board.connect(world))
        team._watcher.start()
        return team

    def __enter__(self) -> Team:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self.world.is_main:
            self.finish(exit_code_of(error))

    def release(self, facts: dict[str, Any]) -> None:
        """Let the others begin, with what they need to know of the gate and the run."""
        if self._board is not None:
            self._board.post(f"prepared/{self.world.node}", True)
            self._board.post("release", facts)

    def wait_for_release(self) -> dict[str, Any] | None:
        """What process 0 tells the others before training; None where it ended without training."""
        assert self._board is not None, "process 0 waits for no one"
        while self._board.read("end") is None:
            if (facts := self._board.read("release")) is not None:
                return dict(facts)
            time.sleep(_POLL_S)
        return None

    @contextlib.contextmanager
    def first_of_node_first(self) -> Iterator[None]:
        """One process of each machine goes first: the others then find in the cache what it made."""
        key = f"prepared/{self.world.node}"
        if self._board is not None and self.world.local_rank > 0:
            while self._board.read(key) is None:
                time.sleep(_POLL_S)
        yield
        if self._board is not None and self.world.local_rank == 0:
            self._board.post(key, True)

    def cause(self, error: Exception | KeyboardInterrupt) -> Exception | KeyboardInterrupt:
        """What really ended process 0: the failure of another one, where `error` only follows from that."""
        if self._board is None:
            return error
        self._close()
        if not (isinstance(error, KeyboardInterrupt) or _is_lost_connection(error)):
            return error
        with contextlib.suppress(RuntimeError):  # the store is gone, and with it what the others said
            self._board.post("seen", True)
            other = self._failure_of_another(self._board)
            both_interrupted = isinstance(other, KeyboardInterrupt) and isinstance(error, KeyboardInterrupt)
            return error if other is None or both_interrupted else other
        return error

    def finish(self, exit_code: int) -> int:
        """Tell the others to end with `exit_code`, wait until they have heard, and return it."""
        if self._board is not None:
            self._close()
            with contextlib.suppress(RuntimeError):  # the store is gone, and with it who could have heard
                self._board.post("end", exit_code)
                others, until = set(self._others()), time.monotonic() + _SILENCE_S
                while others and time.monotonic() < until:
                    others = {rank for rank in others if self._board.read(f"heard/{rank}") is None}
                    time.sleep(_POLL_S)
            self._stop_watching()
        return exit_code

    def wait_for_end(self) -> int:
        """The exit code that process 0 ends with."""
        assert self._board is not None, "process 0 waits for no one"
        while (exit_code := self._board.read("end")) is None:
            time.sleep(_POLL_S)
        self._board.post(f"heard/{self.world.rank}", True)
        self._stop_watching()
        return int(exit_code)

    def fail(self, error: Exception | KeyboardInterrupt) -> int | None:
        """Tell process 0, which reports it, what ended this one.

        Returns:
            the exit code to end with; None where process 0 does not answer any more.
        """
        assert self._board is not None, "process 0 reports its own errors"
        self._close()
        message = "interrupted" if isinstance(error, KeyboardInterrupt) else " ".join(str(error).split())
        if not isinstance(error, ThinkerError | KeyboardInterrupt):
            message = f"{type(error).__name__}: {message}"
        failure = Failure(self.world.rank, platform.node(), exit_code_of(error), message)
        self._board.post(f"failed/{self.world.rank}", asdict(failure))
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            if self._board.read("end") is not None:
                return self.wait_for_end()
            time.sleep(_POLL_S)
        self._stop_watching()
        # Process 0 may wait for this one in a collective operation, which this one's end breaks off.
        return failure.exit_code if self._board.read("seen") is not None else None

    def _stop_watching(self) -> None:
        """The interpreter must not end while another thread is in the store's code."""
        self._ending.set()
        if self._watcher.is_alive() and threading.current_thread() is not self._watcher:
            self._watcher.join(_SILENCE_S)

    def _others(self) -> list[int]:
        return [rank for rank in range(self.world.size) if rank != self.world.rank]

    def _close(self) -> None:
        """From now on the end is under way: a launcher's request to end, or a second Ctrl-C, must not cut it short."""
        self._ending.set()
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                if hasattr(signal, name):
                    signal.signal(getattr(signal, name), signal.SIG_IGN)

    def _failures(self, board: _Board) -> list[Failure]:
        found = [board.read(f"failed/{rank}") for rank in self._others()]
        return [Failure(**each) for each in found if each is not None]

    def _failure_of_another(self, board: _Board) -> Exception | KeyboardInterrupt | None:
        """Another process's failure, or its silence; an interrupt that reached all of them is no one's failure."""
        beats, until = {rank: board.read(f"beat/{rank}") for rank in self._others()}, time.monotonic() + _SILENCE_S
        while True:
            failures = self._failures(board)
            grave = [failure for failure in failures if failure.exit_code != EXIT_INTERRUPTED]
            if grave:
                return grave[0].error(self.world.size)
            told = {failure.rank for failure in failures}
            for rank in [rank for rank in beats if rank in told or board.read(f"beat/{rank}") != beats[rank]]:
                del beats[rank]
            if not beats:
                return KeyboardInterrupt() if failures else None
            if time.monotonic() > until:
                return _gone(sorted(beats), self.world.size)
            time.sleep(_POLL_S)

    def _watch(self) -> None:
        """Runs beside the main thread: shows that this process lives, and acts on what the others say."""
        assert self._board is not None, "who is alone watches no one"
        beat = 0
        try:
            while not self._ending.wait(_POLL_S):
                beat += 1
                self._board.post(f"beat/{self.world.rank}", beat)
                if self.world.is_main:
                    if failures := self._failures(self._board):
                        self._board.post("seen", True)
                        self._end_from_outside(failures[0])
                        return
                elif (exit_code := self._board.read("end")) not in (None, 0):
                    self._board.post(f"heard/{self.world.rank}", True)
                    _leave(exit_code)
        except Exception as error:  # noqa: BLE001  whatever the store says where no one keeps it any more
            if self.world.is_main or self._ending.is_set():
                return
            sys.stderr.write(f"[thinker] error: process {self.world.rank} lost the others: {_first_line(error)}\n")
            _leave(EXIT_UNEXPECTED)

    def _end_from_outside(self, failure: Failure) -> None:
        """Interrupt the main thread; where it does not come back (a collective operation without end), end without it.

        The failed process ends too, which breaks off an operation of gloo; one of NCCL goes on.
        """
        _thread.interrupt_main()
        if self._ending.wait(_GRACE_S):
            return
        error = failure.error(self.world.size)
        self.on_lost(error)
        _leave(self.finish(error.exit_code))


class _Board:
    """Values by key that all processes see, as JSON."""

    def __init__(self, store: Any) -> None:
        self._store = store

    @classmethod
    def connect(cls, world: World) -> _Board:
        from torch.distributed import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        try:
            store, _, _ = next(rendezvous("env://", world.rank, world.size, timeout=_CONNECT))
        except (RuntimeError, ValueError) as error:
            raise PreconditionError(
                f"process {world.rank} of {world.size} cannot reach process 0 at {os.environ.get('MASTER_ADDR')}:"
                f"{os.environ.get('MASTER_PORT')}: {_first_line(error)}"
            ) from error
        return cls(PrefixStore("thinker", store))

    def post(self, key: str, value: Any) -> None:
        self._store.set(key, json.dumps(value))

    def read(self, key: str) -> Any:
        """The value of `key`, or None; never waits for it."""
        return json.loads(self._store.get(key)) if self._store.check([key]) else None


def exit_code_of(error: BaseException) -> int:
    """What the command line exits with for `error`."""
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    code = getattr(error, "exit_code", EXIT_UNEXPECTED)  # click's errors have one too
    return code if isinstance(code, int) else EXIT_UNEXPECTED


def _gone(ranks: list[int], size: int) -> ThinkerError:
    named = f"process {ranks[0]}" if len(ranks) == 1 else f"processes {', '.join(map(str, ranks))}"
    return error_of(5, f"{named} of {size} ended without a word: killed, perhaps for lack of memory; the launcher's "
                       "report has the signal")  # fmt: skip


def _is_lost_connection(error: BaseException | None) -> bool:
    """Whether a collective operation broke off, as far as torch's errors tell."""
    while error is not None:
        text = str(error)
        if type(error).__name__.startswith("Dist") or "gloo" in text or "NCCL" in text or "by peer" in text:
            return True
        error = error.__cause__ or error.__context__
    return False


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def _leave(exit_code: int) -> None:
    """End this process now, whatever its main thread does."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(exit_code)
