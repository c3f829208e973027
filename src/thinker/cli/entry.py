"""From arguments to an exit code: streams that mask secrets, signals, and one line for an error."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TextIO, cast

import click

from thinker.errors import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_UNEXPECTED,
    ConfigError,
    PreconditionError,
    ThinkerError,
)
from thinker.secrets import MaskingStream, mask

log = logging.getLogger("thinker")


def run(argv: list[str]) -> int:
    """Run the command line `argv` (without the program's name) and return the exit code."""
    from thinker.cli.app import app

    debug, as_json = "--debug" in argv, "--json" in argv
    with _masked_streams(), _signals_interrupt():
        try:
            result = app.main(args=argv, prog_name="thinker", standalone_mode=False, obj={"argv": tuple(argv)})
            sys.stdout.flush()
        except click.exceptions.Exit as stop:
            return stop.exit_code
        except click.ClickException as error:
            _usage_error(error, as_json=as_json)
            return error.exit_code
        except (KeyboardInterrupt, click.Abort) as interrupt:
            _say("interrupted")
            if as_json:
                _show_json("interrupted", EXIT_INTERRUPTED, ThinkerError.stage, interrupt, ("interrupted",))
            return EXIT_INTERRUPTED
        except Exception as error:  # noqa: BLE001  whatever it is, it ends in one line and an exit code
            known = _lost_folder(error) or error
            report(known, debug=debug, as_json=as_json)
            return known.exit_code if isinstance(known, ThinkerError) else EXIT_UNEXPECTED
        return result if isinstance(result, int) else EXIT_OK


def report(error: Exception, *, debug: bool, as_json: bool) -> None:
    """Say what went wrong, a line for each problem; with `--json` also as an object on standard output."""
    problems = error.problems if isinstance(error, ConfigError) else (str(error),)
    if not isinstance(error, ThinkerError):
        where = "" if debug else " (this is not an error that Thinker expected; --debug shows where it comes from)"
        problems = (f"{type(error).__name__}: {error}{where}",)
    for problem in problems:
        # Libraries have messages of many lines; the record keeps them as they are.
        _say(f"error: {' '.join(problem.split())}")
    if debug:
        import traceback

        sys.stderr.write("".join(traceback.format_exception(error)))
    if as_json:
        code = error.exit_code if isinstance(error, ThinkerError) else EXIT_UNEXPECTED
        stage = error.stage if isinstance(error, ThinkerError) else ThinkerError.stage
        _show_json("failed", code, stage, error, problems)


def _usage_error(error: click.ClickException, *, as_json: bool) -> None:
    nothing_given = getattr(click.exceptions, "NoArgsIsHelpError", ())
    if isinstance(error, nothing_given):
        sys.stderr.write(error.format_message() + "\n")
    else:
        _say(f"error: {error.format_message()}")
        if isinstance(error, click.UsageError) and error.ctx is not None:
            sys.stderr.write(f"see `{error.ctx.command_path} --help`\n")
    if as_json:
        _show_json("failed", error.exit_code, "usage", error, (error.format_message(),))


def _show_json(status: str, exit_code: int, stage: str, error: BaseException, problems: tuple[str, ...]) -> None:
    detail = {"stage": stage, "type": type(error).__name__, "message": "\n".join(problems), "problems": list(problems)}
    sys.stdout.write(mask(json.dumps({"status": status, "exit_code": exit_code, "error": detail})) + "\n")


def _say(line: str) -> None:
    sys.stderr.write(f"[thinker] {line}\n")


def _lost_folder(error: Exception) -> PreconditionError | None:
    """What to say where the current folder was removed: the error itself names no file."""
    if isinstance(error, FileNotFoundError) and error.filename is None:
        try:
            Path.cwd()
        except FileNotFoundError:
            return PreconditionError("the current folder no longer exists; change to another one and try again")
    return None


@contextlib.contextmanager
def _masked_streams() -> Iterator[None]:
    """Nothing written by anyone in this process shows a secret that Thinker knows."""
    out, err = sys.stdout, sys.stderr
    sys.stdout = cast(TextIO, MaskingStream(_writable(out)))
    sys.stderr = cast(TextIO, MaskingStream(_writable(err)))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # told already, or nobody listens
            sys.stdout.flush()
        sys.stdout, sys.stderr = out, err


def _writable(stream: TextIO | None) -> TextIO:
    """`stream` such that writing to it raises neither where it was closed nor for a character it cannot encode."""
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        stream.reconfigure(errors="backslashreplace")
    return stream


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    """A polite request to end, or a closed terminal, is like Ctrl-C: the record is closed, the exit code is 130."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # One that is ignored (`nohup`) stays so; outside the main thread no handler can be set.
    in_main_thread = threading.current_thread() is threading.main_thread()
    taken = [number for number in numbers if in_main_thread and signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
