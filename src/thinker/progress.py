"""Progress bars on a terminal, plain lines elsewhere. The command line chooses; a library call shows nothing.

Messages go through the standard logger `thinker`; this module is only for work that advances.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from typing import Literal, Protocol

Mode = Literal["off", "plain", "bar"]

log = logging.getLogger("thinker")
_PLAIN_INTERVAL_S = 30.0
_mode: Mode = "off"


class Bar(Protocol):
    """What a piece of work reports to: `advance` by units done, with figures worth showing beside the bar."""

    def advance(self, units: int = 1, **figures: float) -> None: ...


def set_mode(mode: Mode) -> None:
    """Choose how progress is shown from now on in this process."""
    global _mode
    _mode = mode


@contextlib.contextmanager
def track(label: str, total: int | None, unit: str) -> Iterator[Bar]:
    """Show progress of `total` units (None: unknown) of work called `label`, on standard error."""
    if _mode == "bar":
        with _rich_bar(label, total, unit) as bar:
            yield bar
    elif _mode == "plain":
        yield _PlainBar(label, total, unit)
    else:
        yield _SilentBar()


class _SilentBar:
    def advance(self, units: int = 1, **figures: float) -> None:
        pass


class _PlainBar:
    """A log line at most every thirty seconds, and one at the end of work whose total is known."""

    def __init__(self, label: str, total: int | None, unit: str) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._done = 0
        self._started = self._last = time.monotonic()

    def advance(self, units: int = 1, **figures: float) -> None:
        self._done += units
        now = time.monotonic()
        finished = self._total is not None and self._done >= self._total
        if not finished and now - self._last < _PLAIN_INTERVAL_S:
            return
        self._last = now
        rate = self._done / max(now - self._started, 1e-9)
        shown = "".join(f"  {name} {value:.4g}" for name, value in figures.items())
        of = "" if self._total is None else f"/{self._total}"
        log.info("%s: %d%s %s, %.3g/s%s", self._label, self._done, of, self._unit, rate, shown)


@contextlib.contextmanager
def _rich_bar(label: str, total: int | None, unit: str) -> Iterator[Bar]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{unit}{{task.fields[figures]}}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=sys.stderr)) as progress:
        task = progress.add_task(label, total=total, figures="")

        class _RichBar:
            def advance(self, units: int = 1, **figures: float) -> None:
                shown = "".join(f"  {name} {value:.4g}" for name, value in figures.items())
                progress.update(task, advance=units, figures=shown)

        yield _RichBar()
