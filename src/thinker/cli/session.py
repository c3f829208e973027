"""One pipeline command from configuration to exit code, with its record, its messages and its summary."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from thinker import progress
from thinker.cli.entry import report
from thinker.cli.options import CommonOptions
from thinker.data import tokenizer_threads
from thinker.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_UNEXPECTED, TestSuiteError, ThinkerError
from thinker.processes import Team, World

if TYPE_CHECKING:
    from thinker.pipeline import Command
    from thinker.runs import RunRecorder

log = logging.getLogger("thinker")


def run_pipeline(
    common: CommonOptions,
    command: Command,
    *,
    backend: str | None = None,
    checkpoint: Path | None = None,
    skip_validation: bool = False,
    force: bool = False,
    fresh: bool = False,
    dry_run: bool = False,
    probe: bool = True,
    max_errors: int = 10,
    reports: Sequence[str] = (),
) -> int:
    """Run `command`, record it, show what came of it, and return the exit code.

    Of several processes that a launcher started, process 0 does all of this; the others train along, where the command
    trains, and end with its exit code.
    """
    if force and skip_validation:
        raise click.UsageError("--force and --skip-validation exclude each other")
    with Team.join(World.of_environment()) as team:
        if not team.world.is_main:
            from thinker.cli.following import follow

            trains = command in ("train", "run") and not dry_run
            return follow(team, common, command, backend=backend, trains=trains)
        exit_code = _lead(
            team, common, command, backend=backend, checkpoint=checkpoint, skip_validation=skip_validation,
            force=force, fresh=fresh, dry_run=dry_run, probe=probe, max_errors=max_errors, reports=reports,
        )  # fmt: skip
        return team.finish(exit_code)


def _lead(
    team: Team,
    common: CommonOptions,
    command: Command,
    *,
    backend: str | None,
    checkpoint: Path | None,
    skip_validation: bool,
    force: bool,
    fresh: bool,
    dry_run: bool,
    probe: bool,
    max_errors: int,
    reports: Sequence[str],
) -> int:
    configure_output(common)
    from thinker.cli.reporting import gate_inputs, reporting
    from thinker.config import load_experiment
    from thinker.config.resolved import resolved_config
    from thinker.pipeline import ThinkerPipeline
    from thinker.runs import RunRecorder
    from thinker.validation.reports import refuse_overwriting

    telling = reporting(common, max_errors, reports)
    with _kept_until_recorded() as early:
        experiment = load_experiment(
            common.config, command=command, overrides=common.overrides, backend=backend, checkpoint=checkpoint
        )
        refuse_overwriting(telling.targets, gate_inputs(experiment))
        recorder = RunRecorder.start(
            experiment.pipeline.runs_dir,
            command=command,
            argv=["thinker", *common.argv],
            config_path=experiment.config_path,
            overrides=experiment.overrides,
        )
        early.hand_on()
    team.on_lost = lambda error: _close_as_failed(common, recorder, error)
    suite_stream = _suite_stream(common)
    try:
        recorder.write_json("config.resolved", resolved_config(experiment))
        pipeline = ThinkerPipeline(experiment, recorder, suite_stream=suite_stream, reporting=telling, team=team)
        if dry_run:
            pipeline.dry_run(skip_validation=skip_validation, force=force, probe=probe)
        else:
            pipeline.run(command, skip_validation=skip_validation, force=force, fresh=fresh)
        recorder.finish("success", EXIT_OK)
    except (Exception, KeyboardInterrupt) as raised:  # noqa: BLE001  whatever it is, the record and exit code say it
        error = team.cause(raised)
        if isinstance(error, KeyboardInterrupt):
            recorder.finish("interrupted", EXIT_INTERRUPTED, error)
            _end(common, recorder, "interrupted")
            return EXIT_INTERRUPTED
        if isinstance(suite_stream, io.StringIO) and isinstance(error, TestSuiteError):
            sys.stderr.write(suite_stream.getvalue())
        return _close_as_failed(common, recorder, error)
    if not common.as_json and common.verbosity >= 0:
        from thinker.cli.show import show_outcome

        show_outcome(recorder.record)
    _end(common, recorder, None)
    return EXIT_OK


def _close_as_failed(common: CommonOptions, recorder: RunRecorder, error: Exception) -> int:
    code = error.exit_code if isinstance(error, ThinkerError) else EXIT_UNEXPECTED
    recorder.finish("failed", code, error)
    report(error, debug=common.debug, as_json=False)
    _end(common, recorder, None)
    return code


def configure_output(common: CommonOptions) -> None:
    """Messages to standard error as `[thinker] …`, bars on a terminal, other libraries only under `-v`."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    tokenizer_threads.keep_off()
    if common.verbosity < 1:
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    level = {1: logging.DEBUG, 0: logging.INFO, -1: logging.WARNING}[common.verbosity]
    log.handlers = [handler for handler in log.handlers if not isinstance(handler, ConsoleHandler)]
    log.addHandler(ConsoleHandler(level))
    log.setLevel(logging.DEBUG)
    log.propagate = False
    root = logging.getLogger()
    root.addHandler(ConsoleHandler(logging.INFO) if common.verbosity > 0 else logging.NullHandler())
    logging.captureWarnings(True)
    progress.set_mode("off" if common.verbosity < 0 else "bar" if sys.stderr.isatty() else "plain")


class ConsoleHandler(logging.Handler):
    """Writes to whatever standard error is at that moment, so that a progress bar can keep its line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line for each line of the message."""
        level = {logging.WARNING: "warning: ", logging.ERROR: "error: "}.get(record.levelno, "")
        for line in record.getMessage().splitlines():
            sys.stderr.write(f"[thinker] {level}{line}\n")


class _Early(logging.Handler):
    """Holds messages back until there is a record to keep them too."""

    def __init__(self) -> None:
        super().__init__()
        self._held: list[logging.LogRecord] = []
        self._others = log.handlers

    def emit(self, record: logging.LogRecord) -> None:
        self._held.append(record)

    def hand_on(self) -> None:
        """Hand on what was held, to the handlers of before and those added since."""
        added = [handler for handler in log.handlers if handler is not self]
        log.handlers = [*self._others, *(handler for handler in added if handler not in self._others)]
        held, self._held = self._held, []
        for record in held:
            log.handle(record)


@contextlib.contextmanager
def _kept_until_recorded() -> Iterator[_Early]:
    early = _Early()
    log.handlers = [early]
    try:
        yield early
    finally:
        early.hand_on()


def _suite_stream(common: CommonOptions) -> TextIO:
    """Where pytest's output goes: nowhere under `-q` unless the suite fails, standard error under `--json`."""
    if common.verbosity < 0:
        return io.StringIO()
    return sys.stderr if common.as_json else sys.stdout


def _end(common: CommonOptions, recorder: RunRecorder, word: str | None) -> None:
    from thinker.runs.recorder import record_text

    if word:
        sys.stderr.write(f"[thinker] {word}\n")
    if common.as_json:
        sys.stdout.write(record_text(recorder.record))
    elif common.verbosity >= 0:
        sys.stderr.write(f"[thinker] record: {recorder.record_path}\n")
