"""Checks beyond the schema: a second pass over the rows, by everything that reads them as training will.

The first pass (`dataset`) proves that lines are rows of the schema's form. This one reads the same bytes again, leaves
out the rows with errors, and hands the others to each check: as tokens, as the task's examples, beside each other and
beside the records to evaluate.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol

from thinker.config.pipeline_models import CheckLevel
from thinker.data.dataset_files import DatasetFiles, PlacedRow
from thinker.progress import track
from thinker.tasks.base import Example, Task
from thinker.validation import codes
from thinker.validation.problems import excerpt_of_value
from thinker.validation.report import Report

_BATCH_ROWS: Final = 512


@dataclass(frozen=True)
class CheckedRow:
    """A row that has the schema's form.

    Attributes:
        number: place among the dataset's rows, from 0.
        file, line: where it stands; lines count from 1.
        value: the JSON object.
        example: what the task reads in it.
    """

    number: int
    file: Path
    line: int
    value: dict[str, Any]
    example: Example


@dataclass(frozen=True)
class Found:
    """Something that a check has to say.

    Attributes:
        rule: slug of `thinker.validation.codes`.
        row: the row concerned; None where the dataset as a whole is meant.
        field: path of the value concerned.
        value: what an excerpt is taken from; None shows none.
        level: in place of that of the rule; None keeps it.
    """

    rule: str
    message: str
    row: CheckedRow | None = None
    field: str = ""
    value: Any = None
    level: CheckLevel | None = None


class Check(Protocol):
    """One check, made for one dataset.

    Attributes:
        rules: the slugs it may report; a check all of whose rules are off is not run.
    """

    rules: tuple[str, ...]

    def rows(self, batch: Sequence[CheckedRow]) -> Iterable[Found]:
        """What is wrong with the rows of `batch`; batches come in file order."""
        ...

    def finish(self) -> Iterable[Found]:
        """What is wrong with the dataset as a whole, once all rows have been seen."""
        ...

    def statistics(self) -> Mapping[str, Any]:
        """Figures worth showing and recording, as JSON; empty where there are none."""
        ...


@dataclass(frozen=True)
class PreflightResult:
    """What became of the second pass: the problems are in the report that it was given.

    Attributes:
        rows: rows that the checks saw; those with errors of their own were left out.
        statistics: figures of all checks.
    """

    rows: int
    statistics: Mapping[str, Any] = field(default_factory=dict)


def run_preflight(
    files: DatasetFiles,
    task: Task,
    checks: Sequence[Check],
    report: Report,
    *,
    refused: Collection[tuple[str, int]] = (),
    max_examples: int | None = None,
    expected_sha256: str,
) -> PreflightResult:
    """Hand the rows of `files` to `checks`, and what they find to `report`.

    Args:
        files: the dataset.
        task: reads rows as examples.
        checks: made for this dataset.
        report: takes the problems.
        refused: file and line of the rows that the first pass found errors in; they are left out.
        max_examples: as in the first pass.
        expected_sha256: of the bytes that the first pass saw.

    Raises:
        DataError: the files are not those of `expected_sha256`.
        ConfigError: code of the user's failed; names the row.
    """
    active = [check for check in checks if any(report.level(rule) != "off" for rule in check.rules)]
    count = 0
    placed = files.parsed(max_examples=max_examples, expected_sha256=expected_sha256)
    rows = _checked_rows(placed, task, report, refused)
    with track("preflight", None, "rows") as bar:
        while batch := list(islice(rows, _BATCH_ROWS)):
            count += len(batch)
            found = [each for check in active for each in check.rows(batch)]
            found.sort(key=lambda each: each.row.number if each.row else -1)
            for each in found:
                _report(report, each)
            bar.advance(len(batch))
    for check in active:
        for each in check.finish():
            _report(report, each)
    statistics: dict[str, Any] = {}
    for check in active:
        statistics |= check.statistics()
    return PreflightResult(count, statistics)


def _checked_rows(
    rows: Iterable[PlacedRow], task: Task, report: Report, refused: Collection[tuple[str, int]]
) -> Iterator[CheckedRow]:
    # A rule that was turned down may let rows through that the task's reader does not expect.
    lenient = any(report.level(rule) != "error" for rule in codes.SCHEMA_RULES)
    refusals = (ValueError, LookupError, TypeError, AttributeError) if lenient else (ValueError,)
    for row in rows:
        value, line = row.parsed.value, row.raw.number
        if value is None or (str(row.file), line) in refused:
            continue
        try:
            example = task.example(value)
        except refusals as error:
            what = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            report.add("example", line, "", f"cannot be read as an example: {what}", file=row.file)
            continue
        yield CheckedRow(row.number, row.file, line, value, example)


def _report(report: Report, found: Found) -> None:
    line = found.row.line if found.row else None
    excerpt = "" if found.value is None else excerpt_of_value(found.value)
    file = found.row.file if found.row else None
    report.add(found.rule, line, found.field, found.message, excerpt, file=file, level=found.level)
