"""The test suite: pytest in this process, its output shown and kept, its counts on record."""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, TextIO

from thinker.config.pipeline_models import TestSuiteConfig
from thinker.errors import ConfigError, TestSuiteError
from thinker.validation.pytest_run import PytestRun, run_pytest

log = logging.getLogger("thinker")

_NAMED_FAILURES: Final = 3
# pytest.ExitCode, without importing pytest
_USAGE_ERROR: Final = 4
_NOTHING_COLLECTED: Final = 5


@dataclass(frozen=True)
class TestSuiteResult:
    """What became of the test suite.

    Attributes:
        errors: tests whose set-up or tear-down failed, and files that could not be collected.
        exit_code: pytest's; None where it did not run or was stopped before it could tell.
        args: pytest's command line.
        failures: node ids of what failed, in order.
        passed_tests: node ids of what passed, in order.
    """

    __test__ = False

    status: Literal["passed", "failed", "disabled"]
    passed: int = 0
    failed: int = 0
    errors: int = 0
    skipped: int = 0
    xfailed: int = 0
    xpassed: int = 0
    deselected: int = 0
    exit_code: int | None = None
    duration_s: float = 0.0
    args: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    passed_tests: tuple[str, ...] = ()


class TestSuiteRunner:
    """Runs the configured suite. What the suite changes in this process is put back (`isolation` says what)."""

    __test__ = False

    def __init__(self, config: TestSuiteConfig) -> None:
        self._config = config

    def run(self, output: Path | None = None, stream: TextIO | None = None) -> TestSuiteResult:
        """Run the suite.

        Args:
            output: file that keeps what pytest prints, without colours, secrets masked.
            stream: where pytest's standard output is shown; `sys.stdout` by default.

        Raises:
            TestSuiteError: something failed or nothing ran; its `result` holds the counts.
            KeyboardInterrupt: the suite was interrupted.
            RecordError: `output` cannot be written.
            ConfigError: the configuration names no path.
        """
        if not self._config.enabled:
            log.warning("tests: disabled (tests.enabled is false); nothing vouches for the data but their schema")
            return TestSuiteResult(status="disabled")
        if self._config.path is None:
            raise ConfigError("tests.path is missing; name a test file or folder, or set tests.enabled to false")
        path = self._config.path
        args = [str(path), *self._marker_args(), *self._config.args]
        started = time.perf_counter()
        run = run_pytest(path if path.is_dir() else path.parent, args, output, stream or sys.stdout)
        result = TestSuiteResult(
            status="passed",
            passed=run.counts["passed"],
            failed=run.counts["failed"],
            errors=run.counts["error"],
            skipped=run.counts["skipped"],
            xfailed=run.counts["xfailed"],
            xpassed=run.counts["xpassed"],
            deselected=run.counts["deselected"],
            exit_code=run.exit_code,
            duration_s=time.perf_counter() - started,
            args=tuple(args),
            failures=tuple(run.failures),
            passed_tests=tuple(run.passed_tests),
        )
        if problem := self._problem(result, run):
            kept = f"; the whole output is in {output}" if output else ""
            raise TestSuiteError(f"{problem}{kept}", replace(result, status="failed")) from run.stopped_by
        return result

    def _marker_args(self) -> tuple[str, ...]:
        return () if self._config.markers is None else ("-m", self._config.markers)

    def _problem(self, result: TestSuiteResult, run: PytestRun) -> str | None:
        """What is wrong with the run, or None."""
        path = self._config.path
        if result.failures:
            return _failures(result, run.collection_errors)
        if run.stopped_by is not None:
            return f"the suite in {path} stopped pytest: {_describe(run.stopped_by)}"
        if result.exit_code == _NOTHING_COLLECTED:
            return self._nothing_collected(result)
        if result.exit_code == _USAGE_ERROR:
            return f"pytest refused {path} or its arguments {list(result.args[1:])}: see its output"
        if result.exit_code != 0:
            return f"pytest ended with exit code {result.exit_code} in {path}: see its output"
        if result.passed + result.xpassed == 0:
            return (
                f"no test in {path} passed, so nothing is proven ({result.skipped} skipped, {result.xfailed} xfailed)"
            )
        return None

    def _nothing_collected(self, result: TestSuiteResult) -> str:
        markers = f" (markers {self._config.markers!r})" if self._config.markers is not None else ""
        what = f"no tests were collected in {self._config.path}{markers}"
        if result.deselected:
            what += f": all {result.deselected} were deselected"
        return what


def _failures(result: TestSuiteResult, collection_errors: int) -> str:
    named = ", ".join(result.failures[:_NAMED_FAILURES])
    more = len(result.failures) - _NAMED_FAILURES
    counts = [f"{result.failed} failed"] if result.failed else []
    if collection_errors:
        counts.append(f"{collection_errors} could not be collected")
    if others := result.errors - collection_errors:
        counts.append(f"{others} failed in set-up or tear-down")
    return f"the test suite failed: {', '.join(counts)}: {named}{f' and {more} more' if more > 0 else ''}"


def _describe(error: BaseException) -> str:
    name = "pytest.exit" if type(error).__name__ == "Exit" else type(error).__name__
    return f"{name}: {error}" if str(error) else name
