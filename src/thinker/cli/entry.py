"""From arguments to an exit code: streams that mask secrets, signals, and one line for an error."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, TextIO, cast

import click

from thinker.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_UNEXPECTED, ConfigError, ThinkerError
from thinker.secrets import MaskingStream, mask

log = logging.getLogger("thinker")


def run(argv: list[str]) -> int:
    """Run the command line `argv` (without the program's name) and return the exit code."""
    from thinker.cli.app import app

    with _masked_streams(), _sigterm_interrupts():
        try:
            result = app.main(args=argv, prog_name="thinker", standalone_mode=False, obj={"argv": tuple(argv)})
        except click.exceptions.Exit as stop:
            return stop.exit_code
        except click.ClickException as error:
            _usage_error(error)
            return error.exit_code
        except (KeyboardInterrupt, click.Abort):
            _say("interrupted")
            return EXIT_INTERRUPTED
        except ThinkerError as error:
            report(error, debug="--debug" in argv, as_json="--json" in argv)
            return error.exit_code
        except Exception as error:  # noqa: BLE001  whatever it is, it ends in one line and an exit code
            report(error, debug="--debug" in argv, as_json="--json" in argv)
            return EXIT_UNEXPECTED
        return result if isinstance(result, int) else EXIT_OK


def report(error: Exception, *, debug: bool, as_json: bool) -> None:
    """Say what went wrong, a line for each problem; with `--json` also as an object on standard output."""
    problems = error.problems if isinstance(error, ConfigError) else (str(error),)
    if not isinstance(error, ThinkerError):
        where = "" if debug else " (this is not an error that Thinker expected; --debug shows where it comes from)"
        problems = (f"{type(error).__name__}: {error}{where}",)
    for problem in problems:
        _say(f"error: {problem}")
    if debug:
        import traceback

        sys.stderr.write("".join(traceback.format_exception(error)))
    if as_json:
        code = error.exit_code if isinstance(error, ThinkerError) else EXIT_UNEXPECTED
        stage = error.stage if isinstance(error, ThinkerError) else "thinker"
        detail = {"stage": stage, "type": type(error).__name__, "message": str(error), "problems": list(problems)}
        sys.stdout.write(mask(json.dumps({"status": "failed", "exit_code": code, "error": detail})) + "\n")


def _usage_error(error: click.ClickException) -> None:
    _say(f"error: {error.format_message()}")
    if isinstance(error, click.UsageError) and error.ctx is not None:
        sys.stderr.write(f"see `{error.ctx.command_path} --help`\n")


def _say(line: str) -> None:
    sys.stderr.write(f"[thinker] {line}\n")


@contextlib.contextmanager
def _masked_streams() -> Iterator[None]:
    """Nothing written by anyone in this process shows a secret that Thinker knows."""
    out, err = sys.stdout, sys.stderr
    sys.stdout = cast(TextIO, MaskingStream(out))
    sys.stderr = cast(TextIO, MaskingStream(err))
    try:
        yield
    finally:
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
        sys.stdout, sys.stderr = out, err


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """A polite request to end is handled like Ctrl-C: the record is closed, the exit code is 130."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        previous: Any = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
