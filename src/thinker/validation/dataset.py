"""The dataset against its schema: every row, every problem, counted exactly."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from thinker import progress
from thinker.config.pipeline_models import CheckLevel, SchemaField
from thinker.data.jsonl import HashingLines, RawLine, parse_row
from thinker.errors import DataError
from thinker.validation import codes
from thinker.validation.problems import (
    MergedProblems,
    ProblemLog,
    excerpt_of_text,
    excerpt_of_value,
)
from thinker.validation.report import Report
from thinker.validation.rules import RowChecker

_PROGRESS_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class DatasetValidationResult:
    """What became of checking a dataset.

    Attributes:
        sha256: of all bytes of the file, also of those beyond `max_examples`.
        rows: rows checked, the broken ones included; blank lines are no rows.
        complete: whether every row of the file was checked; False where `max_examples` left some out.
        errors: all of them, in file order; those past the bound come from a temporary file.
        warnings: likewise.
        counts_by_code: errors and warnings of each code that occurred.
        memory_bytes_per_row: what `unique` fields kept in memory for each row.
        statistics: figures of the checks beyond the schema.
    """

    path: Path
    sha256: str
    size_bytes: int
    rows: int
    blank_lines: int
    complete: bool
    errors: ProblemLog | MergedProblems
    warnings: ProblemLog | MergedProblems
    counts_by_code: Mapping[str, int]
    memory_bytes_per_row: int
    duration_s: float
    statistics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def error_count(self) -> int:
        """All errors, whether or not kept in memory."""
        return len(self.errors)

    @property
    def warning_count(self) -> int:
        """All warnings, whether or not kept in memory."""
        return len(self.warnings)

    @property
    def ok(self) -> bool:
        """Whether the dataset passed: warnings do no harm."""
        return self.error_count == 0

    def with_pass(self, report: Report, statistics: Mapping[str, Any], duration_s: float) -> DatasetValidationResult:
        """The result together with what a further pass over the same files found."""
        assert isinstance(self.errors, ProblemLog), "there are two passes"
        assert isinstance(self.warnings, ProblemLog), "there are two passes"
        files = [str(self.path)]
        return replace(
            self,
            errors=MergedProblems(files, self.errors, report.errors),
            warnings=MergedProblems(files, self.warnings, report.warnings),
            counts_by_code=dict(sorted((Counter(self.counts_by_code) + report.counts).items())),
            statistics=statistics,
            duration_s=self.duration_s + duration_s,
        )

    def summary(self, limit: int = 10) -> list[str]:
        """Lines to print: the first `limit` errors, then the first `limit` warnings, and how many more there are."""
        return [*self.error_lines(limit), *self.warning_lines(limit)]

    def error_lines(self, limit: int = 10) -> list[str]:
        """The first `limit` errors, and how many more there are."""
        return _first(self.errors, limit, "error")

    def warning_lines(self, limit: int = 10) -> list[str]:
        """The first `limit` warnings, and how many more there are."""
        return _first(self.warnings, limit, "warning")

    def raise_if_failed(self, limit: int = 10) -> None:
        """Raise unless the dataset passed; the exception's notes are the first `limit` errors.

        Raises:
            DataError: says in one line how many errors there are, where the first is and what to do.
        """
        if self.ok:
            return
        first = next(iter(self.errors))
        if self.error_count == 1:
            what = str(first)
        else:
            what = f"{self.path.name}: {self.error_count} errors, the first: {first}"
        error = DataError(f"{what}; mend what `thinker validate` prints and run it again")
        for line in self.error_lines(limit):
            error.add_note(line)
        raise error


class DatasetValidator:
    """Streams a JSONL file through the checks of its lines and its schema.

    Args:
        schema: the fields of a row.
        max_examples: checks no more rows than this; the file is hashed to its end all the same.
        checks: level by code, over the defaults of `thinker.validation.codes`.
        keep_errors: so many errors, and so many warnings, stay in memory; the others go to a temporary file.

    Raises:
        ConfigError: `checks` names a code that does not exist or whose level is fixed; a pattern is not valid.
    """

    def __init__(
        self,
        path: Path,
        schema: Sequence[SchemaField],
        *,
        max_examples: int | None = None,
        checks: Mapping[str, CheckLevel] | None = None,
        keep_errors: int = 10_000,
    ) -> None:
        self._path = path
        self._schema = tuple(schema)
        self._max_examples = max_examples
        self._levels = codes.levels(checks or {})
        self._keep_errors = keep_errors
        RowChecker(self._schema)  # a schema that cannot be used is refused here

    def validate(self) -> DatasetValidationResult:
        """Check the dataset; the result tells errors, this raises only where the file cannot be read.

        Raises:
            DataError: the file cannot be read, or the problems past the bound cannot be kept.
        """
        started = time.perf_counter()
        report = Report(self._path, self._levels, self._keep_errors)
        checker = RowChecker(self._schema)
        rows, blank_lines, complete = 0, 0, True
        with HashingLines(self._path) as lines:
            for raw in _with_progress(lines):
                if raw.number == 1 and lines.has_byte_order_mark:
                    report.add("byte-order-mark", 1, "", "byte order mark, skipped")
                if raw.blank:
                    blank_lines += 1
                    report.add("blank-line", raw.number, "", "blank line, skipped")
                elif rows == self._max_examples:
                    complete = False
                    break
                else:
                    rows += 1
                    self._check_row(raw, checker, report)
            lines.drain()
        if rows == 0:
            report.add("no-rows", None, "", "no rows")
        return DatasetValidationResult(
            path=self._path,
            sha256=lines.sha256,
            size_bytes=lines.size_bytes,
            rows=rows,
            blank_lines=blank_lines,
            complete=complete,
            errors=report.errors,
            warnings=report.warnings,
            counts_by_code=dict(sorted(report.counts.items())),
            memory_bytes_per_row=checker.memory_bytes_per_row,
            duration_s=time.perf_counter() - started,
        )

    def _check_row(self, raw: RawLine, checker: RowChecker, report: Report) -> None:
        parsed = parse_row(raw)
        for fault in parsed.problems:
            excerpt = excerpt_of_text(fault.text, fault.at)
            report.add(codes.CODES[fault.code].slug, raw.number, fault.field, fault.message, excerpt)
        if parsed.value is None:
            return
        findings = checker.check(parsed.value, raw.number)
        for finding in findings:
            excerpt = "" if finding.rule == "missing" else excerpt_of_value(finding.value)
            report.add(finding.rule, raw.number, finding.field, finding.message, excerpt)


def _with_progress(lines: HashingLines) -> Iterator[RawLine]:
    with progress.track("checking the dataset", lines.path.stat().st_size, "bytes") as bar:
        shown = 0
        for raw in lines:
            if lines.bytes_read - shown >= _PROGRESS_BYTES:
                bar.advance(lines.bytes_read - shown)
                shown = lines.bytes_read
            yield raw
        bar.advance(lines.bytes_read - shown)


def _first(problems: ProblemLog | MergedProblems, limit: int, noun: str) -> list[str]:
    lines = [str(problem) for problem in itertools.islice(problems, limit)]
    more = len(problems) - len(lines)
    if more:
        lines.append(f"… and {more} more {noun}{'s' if more > 1 else ''}")
    return lines
