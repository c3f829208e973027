"""Finds and reads run records."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import ValidationError

from thinker.errors import RecordError
from thinker.runs.models import SCHEMA_VERSION, RunRecord, Status

LATEST: Final = "latest"
_RUN_ID: Final = re.compile(r"(\d{8}T\d{6}Z)(?:-(\d+))?")
_SHOWN_MATCHES: Final = 5


@dataclass(frozen=True)
class RunSummary:
    """One line of a list of runs.

    Attributes:
        run_id: the file's name without `.json`.
        path: the record.
        status: as the record says, or `unreadable`.
        problem: why it is unreadable (damaged, or not a run record at all).
        started: when the run started (UTC); like all that follows, None where unreadable or unknown.
        duration_s: seconds from start to end.
        command: subcommand.
        exit_code: what the command line exited with.
        config: pipeline file.
    """

    run_id: str
    path: Path
    status: Status | Literal["unreadable"]
    problem: str | None = None
    started: str | None = None
    duration_s: float | None = None
    command: str | None = None
    exit_code: int | None = None
    config: str | None = None


def list_runs(runs_dir: Path) -> list[RunSummary]:
    """Every `*.json` of `runs_dir` that could be a record, newest first, foreign files last; none without the folder.

    Raises:
        RecordError: `runs_dir` cannot be read.
    """
    return [_summary(path) for path in _record_paths(runs_dir)]


def load_record(path_or_id: str | Path, runs_dir: Path) -> RunRecord:
    """The record at a path (its own, or its folder's), of a run id, of an id's unique beginning, or `latest`.

    Raises:
        RecordError: there is no such record, several fit, or it cannot be read.
    """
    return read_record(find_record(path_or_id, runs_dir))


def find_record(path_or_id: str | Path, runs_dir: Path) -> Path:
    """Where the record lies that `load_record` would read.

    Raises:
        RecordError: there is no such record, or several fit.
    """
    given = Path(path_or_id)
    if given.is_file():
        return given
    if given.is_dir() and (beside := given.parent / f"{given.name}.json").is_file():
        return beside
    paths = {path.stem: path for path in _record_paths(runs_dir)}
    runs = [name for name in paths if _RUN_ID.fullmatch(name)]
    wanted = str(path_or_id).removesuffix(".json")
    if wanted == LATEST and runs:
        return paths[runs[0]]
    if wanted in paths:
        return paths[wanted]
    fitting = [name for name in paths if wanted and name.startswith(wanted)]
    if len(fitting) == 1:
        return paths[fitting[0]]
    raise RecordError(_not_found(wanted, runs_dir, fitting, runs))


def read_record(path: Path) -> RunRecord:
    """The record in the file `path`.

    Raises:
        RecordError: it cannot be read, is not a run record, or has a newer format.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        version = value.get("schema_version", SCHEMA_VERSION) if isinstance(value, dict) else SCHEMA_VERSION
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise RecordError(
                f"{path}: written by a newer Thinker (record format {version}, known up to {SCHEMA_VERSION}); "
                "upgrade Thinker to read it"
            )
        return RunRecord.model_validate(value)
    except ValidationError as error:
        raise RecordError(f"{path}: not a run record: {_first_problem(error)}") from error
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: not JSON, damaged or cut short: {error}") from error


def _record_paths(runs_dir: Path) -> list[Path]:
    """Newest first by name; names that are no run id after them, by name."""
    try:
        paths = [path for path in runs_dir.iterdir() if path.suffix == ".json" and not path.name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RecordError(f"cannot read the runs folder {runs_dir}: {error.strerror or error}") from error
    runs = sorted((path for path in paths if _RUN_ID.fullmatch(path.stem)), key=_age, reverse=True)
    return runs + sorted(path for path in paths if not _RUN_ID.fullmatch(path.stem))


def _age(path: Path) -> tuple[str, int]:
    stamp, _, number = path.stem.partition("-")
    return stamp, int(number or 1)


def _summary(path: Path) -> RunSummary:
    try:
        record = read_record(path)
    except RecordError as error:
        problem = str(error).removeprefix(f"{path}: ")
        return RunSummary(run_id=path.stem, path=path, status="unreadable", problem=problem)
    return RunSummary(
        run_id=record.run_id,
        path=path,
        status=record.status,
        started=record.timestamp,
        duration_s=_seconds_between(record.timestamp, record.finished_at),
        command=record.command,
        exit_code=record.exit_code,
        config=record.config,
    )


def _seconds_between(start: str, end: str | None) -> float | None:
    if end is None:
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{place}: {first['msg']}{more}" if place else f"{first['msg']}{more}"


def _not_found(wanted: str, runs_dir: Path, fitting: list[str], runs: list[str]) -> str:
    if fitting:
        return f"'{wanted}' fits {len(fitting)} runs in {runs_dir}: {_some(fitting)}; give more of the id"
    if not runs:
        return f"no run '{wanted}': {runs_dir} holds no run records"
    if near := difflib.get_close_matches(wanted, runs, n=1):
        return f"no run '{wanted}' in {runs_dir}, did you mean '{near[0]}'? (newest: {_some(runs)})"
    return f"no run '{wanted}' in {runs_dir} (newest: {_some(runs)})"


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN_MATCHES]) + (", …" if len(names) > _SHOWN_MATCHES else "")
