"""Writes a run's record and keeps its folder, from the first second to the last."""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from thinker.errors import RecordError, ThinkerError
from thinker.files import write_atomically
from thinker.runs.files import clean, render_json
from thinker.runs.models import FileRecord, RunError, RunRecord
from thinker.runs.provenance import describe_file, environment, git_state
from thinker.runs.run_log import RunLog
from thinker.secrets import MASK, looks_secret

log = logging.getLogger("thinker")


class RunRecorder:
    """The record of the run in progress, on disk after every change.

    Once started, a record that cannot be written (a full disk) is a warning, and an error only at the end of a run
    that otherwise succeeded: work in progress is worth more than its record.

    Attributes:
        record: as it stands.
        record_path: `<runs_dir>/<run_id>.json`.
        folder: `<runs_dir>/<run_id>`, for everything else that the run leaves.
    """

    def __init__(self, record: RunRecord, folder: Path, run_log: RunLog) -> None:
        self.record = record
        self.folder = folder
        self.record_path = _record_path(folder)
        self._log = run_log
        self._raised: tuple[BaseException, str] | None = None
        self._behind = False

    @classmethod
    def start(
        cls, runs_dir: Path, *, command: str, argv: Sequence[str], config_path: Path, overrides: Sequence[str] = ()
    ) -> RunRecorder:
        """Claim a run id, write the first record (`status: running`) and begin to listen to the logger `thinker`.

        Raises:
            RecordError: `runs_dir` cannot be written.
        """
        started = _now()
        git = git_state(config_path)
        try:
            runs_dir.mkdir(parents=True, exist_ok=True)
            folder = _claim_folder(runs_dir, f"{started:%Y%m%dT%H%M%SZ}")
            record = RunRecord(
                run_id=folder.name,
                timestamp=_timestamp(started),
                command=command,
                argv=_without_secrets(argv),
                config=config_path,
                overrides=_without_secrets(overrides),
                git_commit=git.commit if git else None,
                git=git,
                environment=environment(),
            )
            write_atomically(_record_path(folder), record_text(record))
            run_log = RunLog(folder / "run.log")
        except OSError as error:
            raise RecordError(
                f"cannot write run records to {runs_dir}: {error.strerror or error}; "
                "name another folder with runs_dir in the pipeline file, or with --set pipeline.runs_dir=FOLDER"
            ) from error
        run_log.start()
        return cls(record, folder, run_log)

    @property
    def run_id(self) -> str:
        """Name of the record and of its folder."""
        return self.record.run_id

    def update(self, **sections: Any) -> None:
        """Set whole sections (models, or dicts of their shape) and rewrite the record.

        Raises:
            pydantic.ValidationError: a section has not the shape that the record's schema gives it.
        """
        self._set(**sections)
        problem = self._save()
        if problem and not self._behind:
            log.warning("cannot write the run record %s: %s", self.record_path, problem.strerror or problem)
        self._behind = problem is not None

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage, and rewrite the record at its end, however it ends. Entered again, its seconds add up."""
        log.debug("stage %s: begins", name)
        begun = time.perf_counter()
        try:
            yield
        except BaseException as error:
            if self._raised is None or self._raised[0] is not error:  # the innermost stage is the one to name
                self._raised = (error, name)
            raise
        finally:
            seconds = time.perf_counter() - begun
            log.debug("stage %s: ends after %.3f s", name, seconds)
            timings_s = self.record.timings_s
            self.update(timings_s={**timings_s, name: round(timings_s.get(name, 0.0) + seconds, 6)})

    def artifact(self, name: str, path: Path) -> None:
        """List a file that the run made; one that cannot be read is left out with a warning."""
        self.update(artifacts=self._artifacts_with(name, path))

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write `value`, secrets masked, to `<name>.json` in the run's folder and list it; a full disk is a warning."""
        path = self.folder / f"{name}.json"
        try:
            write_atomically(path, render_json(clean(value)) + "\n")
        except OSError as error:
            log.warning("cannot write %s: %s", path, error.strerror or error)
        else:
            self.artifact(name, path)

    def finish(
        self,
        status: Literal["success", "failed", "interrupted"],
        exit_code: int,
        error: BaseException | None = None,
    ) -> None:
        """Close the record and the log.

        Raises:
            RecordError: the run succeeded, but its record cannot be written.
        """
        if error is not None:
            self._set(
                error=RunError(
                    stage=self._stage_of(error), type=type(error).__name__, message=str(error) or "interrupted"
                )
            )
        # With the traceback: who reads the log of a long run cannot ask for it with --debug any more.
        log.debug("run %s: %s, exit code %d", self.run_id, status, exit_code, exc_info=error)
        self._log.stop()
        if cut_short := self._log.problem:
            log.warning("%s is incomplete: %s", self._log.path, cut_short.strerror or cut_short)
        artifacts = self._artifacts_with("log", self._log.path)
        self._set(status=status, exit_code=exit_code, finished_at=_timestamp(_now()), artifacts=artifacts)
        if not (problem := self._save()):
            return
        message = f"cannot write the run record {self.record_path}: {problem.strerror or problem}"
        if status == "success":
            raise RecordError(f"{message}; the run itself succeeded, and what it made is in place") from problem
        log.warning("%s", message)

    def _artifacts_with(self, name: str, path: Path) -> dict[str, FileRecord]:
        try:
            return {**self.record.artifacts, name: describe_file(path)}
        except OSError as error:
            log.warning("cannot list %s %s in the run record: %s", name, path, error.strerror or error)
            return self.record.artifacts

    def _stage_of(self, error: BaseException) -> str:
        if isinstance(error, ThinkerError):
            return error.stage
        return self._raised[1] if self._raised and self._raised[0] is error else ThinkerError.stage

    def _set(self, **sections: Any) -> None:
        self.record = RunRecord.model_validate({**self.record.model_dump(), **sections})

    def _save(self) -> OSError | None:
        # Setting masks the whole record once more: a secret may have become known since its parts were set.
        self._set(warnings=list(self._log.warnings))
        try:
            write_atomically(self.record_path, record_text(self.record))
        except OSError as error:
            return error
        return None


def record_text(record: RunRecord) -> str:
    """The record as its file holds it."""
    return render_json(record.model_dump(mode="json")) + "\n"


def _claim_folder(runs_dir: Path, stamp: str) -> Path:
    """Make the first of `<stamp>`, `<stamp>-2`, … that no run has; making a folder succeeds for one process only."""
    for number in itertools.count(1):
        folder = runs_dir / (stamp if number == 1 else f"{stamp}-{number}")
        if _record_path(folder).exists():
            continue
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError("count() does not end")


def _without_secrets(arguments: Sequence[str]) -> list[str]:
    """`arguments` with `***` for what is given to a key whose name looks secret (`--set model.hf_token=…`)."""
    kept = []
    for argument in arguments:
        keys = argument.split("=")[:-1]
        secret = next((i for i, key in enumerate(keys) if looks_secret(key.rpartition(".")[2])), None)
        kept.append(argument if secret is None else "=".join([*keys[: secret + 1], MASK]))
    return kept


def _record_path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")


def _now() -> datetime:
    return datetime.now(UTC)


def _timestamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
