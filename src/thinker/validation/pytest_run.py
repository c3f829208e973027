"""One run of pytest in this process: what it prints, what it counts, and what stopped it."""

from __future__ import annotations

import functools
import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

from thinker.errors import RecordError
from thinker.secrets import mask
from thinker.validation.isolation import isolated

if TYPE_CHECKING:
    import pytest

log = logging.getLogger("thinker")

_ANSI: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def run_pytest(folder: Path, args: list[str], output: Path | None, stream: TextIO) -> PytestRun:
    """Run pytest once and put back what the tests change in this process.

    Args:
        folder: the modules imported from here are forgotten afterwards.
        args: pytest's command line.
        output: keeps what pytest prints, without colours, secrets masked.
        stream: shows its standard output.

    Raises:
        KeyboardInterrupt: the run was interrupted.
        RecordError: `output` cannot be written.
    """
    import pytest

    run = PytestRun()
    with _Transcript(output) as transcript, isolated(folder):
        _route_descriptor(stream)
        sys.stdout = cast(TextIO, _Tee(stream, transcript))
        sys.stderr = cast(TextIO, _Tee(sys.stderr, transcript))
        try:
            run.exit_code = int(pytest.main(args, plugins=[run]))
        except KeyboardInterrupt:
            run.interrupted = True
        except BaseException as error:  # noqa: BLE001  sys.exit in a conftest, say: the suite's failure, not our end
            run.stopped_by = error
        sys.stdout.flush()
        sys.stderr.flush()
    if run.interrupted:
        raise KeyboardInterrupt
    return run


def _route_descriptor(stream: TextIO) -> None:
    """Let programs that tests start write to `stream` as well; `isolated` puts the descriptor back."""
    sys.stdout.flush()
    try:
        descriptor = stream.fileno()
    except (AttributeError, OSError, ValueError):  # not a file: text kept in memory, or a notebook's cell
        return
    if descriptor != 1:
        os.dup2(descriptor, 1)


class PytestRun:
    """What became of a pytest run, seen by a plugin that counts as pytest's own summary does.

    Attributes:
        counts: tests by category (`passed`, `failed`, `error`, `skipped`, …) and `deselected`.
        failures: node ids of what failed, in order.
        collection_errors: how many files could not be collected.
        stopped_by: what ended the run out of turn: pytest.exit, sys.exit, an error in pytest or a plugin.
        exit_code: pytest's; None where it did not return.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.collection_errors = 0
        self.interrupted = False
        self.stopped_by: BaseException | None = None
        self.exit_code: int | None = None
        self._config: pytest.Config | None = None

    def pytest_configure(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        assert self._config is not None
        status = self._config.hook.pytest_report_teststatus(report=report, config=self._config)
        category = status[0] if status else report.outcome
        self.counts[category] += 1
        if category in ("failed", "error"):
            self.failures.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.counts["error"] += 1
            self.failures.append(report.nodeid)
            self.collection_errors += 1
        elif report.skipped:
            self.counts["skipped"] += 1

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self.counts["deselected"] += len(items)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        import pytest

        # pytest reports its own stops (`-x`, files that cannot be collected) and pytest.exit in the same way.
        if isinstance(excinfo.value, pytest.exit.Exception):
            self.stopped_by = excinfo.value
        elif not isinstance(excinfo.value, pytest.Session.Interrupted):
            self.interrupted = True

    def pytest_internalerror(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self.stopped_by = excinfo.value


class _Transcript:
    """Keeps what is written, line by line, without colours and secrets. Without a path it keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._line = ""
        self._file: TextIO | None = None

    def __enter__(self) -> _Transcript:
        if self._path is not None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n")
            except OSError as error:
                raise RecordError(f"pytest's output cannot be kept in {self._path}: {error.strerror}") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._line:
            self.write("\n")
        file, self._file = self._file, None
        if file is not None:
            self._try(file.close)

    def write(self, text: str) -> None:
        """Keep `text`; from the first failure on (a full disk) nothing more is kept, and a warning says so."""
        if self._file is None:
            return
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if self._file is not None:
                self._try(functools.partial(self._file.write, mask(_ANSI.sub("", line)) + "\n"))

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            self._file = None
            log.warning("pytest's output is not kept in full in %s: %s", self._path, error.strerror)


class _Tee:
    """A text stream whose output is also kept."""

    def __init__(self, stream: TextIO, transcript: _Transcript) -> None:
        self._stream, self._transcript = stream, transcript

    def write(self, text: str) -> int:
        self._stream.write(text)
        self._transcript.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
