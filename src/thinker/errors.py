"""Every error that Thinker raises on purpose, with the exit code the command line ends with.

A message says what is wrong, where, and what to do next. The command line prints it in one line after
`[thinker] error:` and shows a traceback only under `--debug`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from thinker.validation import TestSuiteResult

EXIT_OK = 0
EXIT_UNEXPECTED = 1
EXIT_INTERRUPTED = 130


class ThinkerError(Exception):
    """Base of all errors below.

    Attributes:
        stage: the pipeline stage the error belongs to, as the run record names it.
        exit_code: what the command line exits with.
    """

    stage: ClassVar[str] = "thinker"
    exit_code: ClassVar[int] = EXIT_UNEXPECTED


class ConfigError(ThinkerError):
    """The configuration cannot be used; `problems` holds one line for each thing to mend."""

    stage = "config"
    exit_code = 2

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems or (message,)


class PreconditionError(ThinkerError):
    """Something outside the configuration is missing: a model, a device, a checkpoint, a key, a package."""

    stage = "precondition"
    exit_code = 2


class TestSuiteError(ThinkerError, RuntimeError):
    """The test suite failed, or nothing in it ran. Also a `RuntimeError`, as the specification has it.

    Attributes:
        result: the suite's counts, as far as it got.
    """

    __test__ = False
    stage = "tests"
    exit_code = 3

    def __init__(self, message: str, result: TestSuiteResult | None = None) -> None:
        super().__init__(message)
        self.result = result


class DataError(ThinkerError, ValueError):
    """The dataset did not pass, or is not the one that passed. Also a `ValueError`, as the specification has it."""

    stage = "data"
    exit_code = 4


class TrainingError(ThinkerError):
    """Training could not start or finish; names backend and configuration, and chains the original error."""

    stage = "training"
    exit_code = 5


class EvaluationError(ThinkerError):
    """Evaluation could not start or finish."""

    stage = "evaluation"
    exit_code = 6


class ComparisonError(ThinkerError):
    """A comparison did not hold: regression gate, reproduction, verification, parity."""

    stage = "comparison"
    exit_code = 7


class RecordError(ThinkerError):
    """The run record or its folder cannot be written or read."""

    stage = "record"
    exit_code = 2


class ConversionError(ThinkerError, ValueError):
    """A raw corpus cannot be converted; names file, line and what is wrong with it."""

    stage = "convert"
    exit_code = 4


def error_of(exit_code: int, message: str) -> ThinkerError:
    """An error that ends with `exit_code`, as one in another process did."""
    kinds = (PreconditionError, TestSuiteError, DataError, TrainingError, EvaluationError, ComparisonError)
    return next((kind(message) for kind in kinds if kind.exit_code == exit_code), ThinkerError(message))
