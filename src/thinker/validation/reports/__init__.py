"""What a gate found, for other programs: JSON lines, JUnit XML, SARIF, GitHub annotations.

Problems are written while they are read, so that any number of them takes no more memory than a few.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO, cast

from thinker.errors import ConfigError, PreconditionError
from thinker.files import file_in_one_step
from thinker.secrets import MaskingStream
from thinker.validation.reports.batched import batched
from thinker.validation.reports.github import write_github
from thinker.validation.reports.jsonl import write_jsonl
from thinker.validation.reports.junit import write_junit
from thinker.validation.reports.sarif import write_sarif

if TYPE_CHECKING:
    from thinker.validation.dataset import DatasetValidationResult

_Writer = Callable[["DatasetValidationResult", TextIO], None]
_WRITERS: Final[dict[str, _Writer]] = {
    "jsonl": write_jsonl,
    "junit": write_junit,
    "sarif": write_sarif,
    "github": write_github,
}
_SUFFIXES: Final = {".jsonl": "jsonl", ".xml": "junit", ".sarif": "sarif"}


@dataclass(frozen=True)
class ReportTarget:
    """A report to write. `path` None: on standard output."""

    format: str
    path: Path | None

    def __str__(self) -> str:
        return f"{self.format}={self.path or '-'}"


def parse_target(text: str) -> ReportTarget:
    """`FORMAT=PATH`, or a path whose suffix tells the format; `-` is standard output.

    Raises:
        ConfigError: it is neither.
    """
    named, equals, place = text.partition("=")
    if not equals or not named.isalpha():  # an equals sign of the path's own
        named, place = _SUFFIXES.get(Path(text).suffix, ""), text
    if named not in _WRITERS or not place:
        suffixes = ", ".join(_SUFFIXES)
        raise ConfigError(
            f"--report {text}: write FORMAT=PATH with one of {', '.join(_WRITERS)}, or a path that ends in {suffixes}"
        )
    return ReportTarget(named, None if place == "-" else Path(place))


def refuse_overwriting(targets: Collection[ReportTarget], inputs: Collection[Path]) -> None:
    """See to it that no report takes the place of what the gate reads, or of another report.

    Raises:
        ConfigError: one would.
    """
    taken = {path.resolve() for path in inputs}
    for target in targets:
        if target.path is None:
            continue
        place = target.path.resolve()
        if place in taken or place.is_dir():
            what = "is a folder" if place.is_dir() else "is an input of the gate, or another report"
            raise ConfigError(f"--report {target}: {place} {what}; name another file")
        taken.add(place)


def write_report(target: ReportTarget, result: DatasetValidationResult) -> None:
    """Write what `result` holds in the form of `target`; the folders that lead to a file are made.

    Raises:
        PreconditionError: it cannot be written.
    """
    write = _WRITERS[target.format]
    if target.path is None:
        with batched(sys.stdout) as out:
            write(result, out)
        return
    try:
        target.path.parent.mkdir(parents=True, exist_ok=True)
        is_device = target.path.exists() and not target.path.is_file()  # such as /dev/stderr, which nothing may replace
        opened = target.path.open("w", encoding="utf-8") if is_device else file_in_one_step(target.path)
        with opened as file, batched(cast(TextIO, MaskingStream(file))) as out:
            write(result, out)
    except OSError as error:
        raise PreconditionError(
            f"--report {target}: cannot be written: {error.strerror}; name another file, or make room"
        ) from error
