"""One run of pytest in this process: what it prints, what it counts, and what stopped it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from thinker.validation.isolation import isolated
from thinker.validation.suite_output import Transcript, flush_everything, suite_streams

if TYPE_CHECKING:
    import pytest


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
    with Transcript(output) as transcript, isolated(folder), suite_streams(stream, transcript) as put_in_place:
        put_in_place()
        try:
            run.exit_code = int(pytest.main(args, plugins=[run]))
        except KeyboardInterrupt:
            run.interrupted = True
        except BaseException as error:  # noqa: BLE001  sys.exit in a conftest, say: the suite's failure, not our end
            run.stopped_by = error
        flush_everything()
    if run.interrupted:
        raise KeyboardInterrupt
    return run


class PytestRun:
    """What became of a pytest run, seen by a plugin that counts as pytest's own summary does.

    Attributes:
        counts: tests by category (`passed`, `failed`, `error`, `skipped`, …) and `deselected`.
        failures: node ids of what failed, in order.
        passed_tests: node ids of what passed, in order.
        collection_errors: how many files could not be collected.
        stopped_by: what ended the run out of turn: pytest.exit, sys.exit, an error in pytest or a plugin.
        exit_code: pytest's; None where it did not return.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.passed_tests: list[str] = []
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
        elif category == "passed":
            self.passed_tests.append(report.nodeid)

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
