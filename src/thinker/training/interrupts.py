"""A polite request to end, kept until the work has reached a point from which it can go on."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Final

log = logging.getLogger("thinker")

_NAMES: Final = ("SIGINT", "SIGTERM", "SIGHUP")


class Interrupts:
    """Whether someone asked for an end.

    Attributes:
        requested: set by the first signal.
    """

    def __init__(self) -> None:
        self.requested = False


@contextlib.contextmanager
def kept_back(message: str, *, once_within_s: float = 0.0) -> Iterator[Interrupts]:
    """Note the first Ctrl-C, SIGTERM or SIGHUP and say `message`; the second does what one alone did before.

    Signals that are ignored (`nohup`) stay so. Outside the main thread no handler can be set, and nothing changes.

    Args:
        message: what is said at the first signal.
        once_within_s: signals that follow so soon on the first are the same request, also after the work has ended: a
            launcher of several processes hands on what a terminal or a batch system has sent to all of them already.
    """
    interrupts, first = Interrupts(), 0.0
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
        handlers = {number: signal.getsignal(number) for number in numbers}

    def note(signum: int, frame: FrameType | None) -> None:
        nonlocal first
        if interrupts.requested:
            if time.monotonic() - first < once_within_s:
                return
            end_at_once(signum, frame)
        interrupts.requested, first = True, time.monotonic()
        # In a thread: the main one may hold the locks of logging, or be within a write to the same stream.
        threading.Thread(target=log.warning, args=(message,), daemon=True).start()

    def end_at_once(signum: int, frame: FrameType | None) -> None:
        if callable(before := handlers[signum]):
            before(signum, frame)
        raise KeyboardInterrupt

    taken: list[int] = []
    try:
        for number, before in handlers.items():
            if before not in (signal.SIG_IGN, None):
                signal.signal(number, note)
                taken.append(number)
        yield interrupts
    finally:
        # Where the same request may still come once more, `note` stays: it heeds all that come later.
        is_awaited = interrupts.requested and time.monotonic() - first < once_within_s
        for number in [] if is_awaited else taken:
            signal.signal(number, handlers[number])
