"""Progress bars on a terminal, plain lines elsewhere. The command line chooses; a library call shows nothing.

Messages go through the standard logger `thinker`; this module is only for work that advances.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Literal, Protocol

Mode = Literal["off", "plain", "bar"]

log = logging.getLogger("thinker")
_PLAIN_INTERVAL_S = 30.0
_BYTE_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
_mode: Mode = "off"


class Bar(Protocol):
    """What a piece of work reports to: `advance` by units done, with figures worth showing beside the bar."""

    def advance(self, units: int = 1, **figures: float) -> None: ...


def set_mode(mode: Mode) -> None:
    """Choose how progress is shown from now on in this process."""
    global _mode
    _mode = mode


@contextlib.contextmanager
def track(label: str, total: int | None, unit: str, *, done: int = 0) -> Iterator[Bar]:
    """Show progress of `total` units (None: unknown) of work called `label`, on standard error.

    Args:
        label: what is done.
        total: units of it.
        unit: their name.
        done: units done before, in no time.
    """
    if _mode == "bar":
        with _rich_bar(label, total, unit, done) as bar:
            yield bar
    elif _mode == "plain":
        yield _PlainBar(label, total, unit, done)
    else:
        yield _SilentBar()


class _SilentBar:
    def advance(self, units: int = 1, **figures: float) -> None:
        pass


class _PlainBar:
    """A log line at most every thirty seconds, and one at the end of work whose total is known."""

    def __init__(self, label: str, total: int | None, unit: str, done: int = 0) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._done = self._done_before = done
        self._started = self._last = time.monotonic()

    def advance(self, units: int = 1, **figures: float) -> None:
        self._done += units
        now = time.monotonic()
        finished = self._total is not None and self._done >= self._total
        if not finished and now - self._last < _PLAIN_INTERVAL_S:
            return
        self._last = now
        per_second = (self._done - self._done_before) / max(now - self._started, 1e-9)
        said = [amount(self._done, self._total, self._unit), rate(per_second, self._unit)]
        if self._total is not None and not finished and self._done:
            said.append(f"{duration((self._total - self._done) / per_second)} left")
        log.info("%s: %s%s", self._label, ", ".join(said), _shown(figures))


def amount(done: float, total: float | None, unit: str) -> str:
    """How much of the work is done: `12/60 steps`, `0.5/2.1 GB`."""
    scale, name = _scale(done if total is None else total) if unit == "bytes" else (1, unit)
    digits = 1 if scale > 1 else 0
    of = "" if total is None else f"/{total / scale:.{digits}f}"
    return f"{done / scale:.{digits}f}{of} {name}"


def rate(per_second: float, unit: str) -> str:
    """How fast the work advances: `0.35/s`, `1,200/s`, `1.2 GB/s`."""
    if unit != "bytes":
        return f"{per_second:,.0f}/s" if per_second >= 100 else f"{per_second:.3g}/s"
    scale, name = _scale(per_second)
    return f"{per_second / scale:.3g} {name}/s"


def duration(seconds: float) -> str:
    """A time as `0:05` or `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _scale(size_bytes: float) -> tuple[int, str]:
    return next(((scale, name) for scale, name in _BYTE_UNITS if size_bytes >= scale), (1, "bytes"))


def _shown(figures: Mapping[str, float]) -> str:
    return "".join(f"  {name} {value:.4g}" for name, value in figures.items())


@contextlib.contextmanager
def _rich_bar(label: str, total: int | None, unit: str, done: int) -> Iterator[Bar]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class _Amount(ProgressColumn):
        """What is done, how fast, and the figures beside it."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            how_fast = f", {rate(speed, unit)}" if speed else ""
            return Text(amount(task.completed, task.total, unit) + how_fast + task.fields["figures"])

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        _Amount(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=sys.stderr)) as progress:
        task = progress.add_task(label, total=total, completed=done, figures="")

        class _RichBar:
            def advance(self, units: int = 1, **figures: float) -> None:
                progress.update(task, advance=units, figures=_shown(figures))

        yield _RichBar()
