"""The dataset against its schema: every row, every problem, counted exactly."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from thinker import progress
from thinker.config.pipeline_models import CheckLevel, SchemaField
from thinker.data.dataset_files import DatasetFiles, FileContent, combined_sha256
from thinker.errors import DataError
from thinker.validation import codes
from thinker.validation.block_checks import worker_count
from thinker.validation.dataset_blocks import DatasetBlocks, PlacedBlock, total_bytes
from thinker.validation.json_schema_rules import row_checker
from thinker.validation.problems import MergedProblems, ProblemLog
from thinker.validation.report import Report
from thinker.validation.schema_pass import SchemaPass

_PROGRESS_BYTES: Final = 4 << 20


@dataclass(frozen=True)
class DatasetValidationResult:
    """What became of checking a dataset.

    Attributes:
        contents: the files that were checked, with the hashes of all their bytes, also beyond `max_examples`.
        rows: rows checked, the broken ones included; blank lines are no rows.
        complete: whether every row was checked; False where `max_examples` left some out.
        errors: all of them, in file order; those past the bound come from a temporary file.
        warnings: likewise.
        counts_by_code: errors and warnings of each code that occurred.
        memory_bytes_per_row: what `unique` fields kept in memory for each row.
        statistics: figures of the checks beyond the schema.
    """

    contents: tuple[FileContent, ...]
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
    def files(self) -> DatasetFiles:
        """What was checked."""
        return DatasetFiles.of([file.path for file in self.contents])

    @property
    def sha256(self) -> str:
        """Of all bytes, as `DatasetFiles.sha256`."""
        return combined_sha256([file.sha256 for file in self.contents])

    @property
    def size_bytes(self) -> int:
        """Of all files, as they lie on disk."""
        return sum(file.size_bytes for file in self.contents)

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

    def refused_lines(self) -> frozenset[tuple[str, int]]:
        """File and line of every row with an error. Some 150 bytes a row."""
        return frozenset((problem.file, problem.line) for problem in self.errors if problem.line is not None)

    def with_pass(self, report: Report, statistics: Mapping[str, Any], duration_s: float) -> DatasetValidationResult:
        """The result together with what a further pass over the same files found."""
        assert isinstance(self.errors, ProblemLog), "there are two passes"
        assert isinstance(self.warnings, ProblemLog), "there are two passes"
        files = [str(path) for path in self.files.paths]
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
            paths = self.files.paths
            where = f"{len(paths)} files" if len(paths) > 1 else paths[0].name
            what = f"{where}: {self.error_count} errors, the first: {first}"
        error = DataError(f"{what}; mend what `thinker validate` prints and run it again")
        for line in self.error_lines(limit):
            error.add_note(line)
        raise error


class DatasetValidator:
    """Streams the files of a dataset through the checks of its lines and its schema, and hashes them meanwhile.

    Args:
        path: a JSONL file, or the files of a dataset.
        schema: the fields of a row, or the file of a JSON Schema.
        max_examples: checks no more rows than this; the files are hashed to their end all the same.
        checks: level by code, over the defaults of `thinker.validation.codes`.
        keep_errors: so many errors, and so many warnings, stay in memory; the others go to a temporary file.
        workers: processes to start beside this one; None starts one for each further core, up to three, where the
            dataset is large. Where rows must be checked one after the other (`unique`, `validator`), or against a JSON
            Schema, this process checks them alone.

    Raises:
        ConfigError: `checks` names a code that does not exist or whose level is fixed; the schema cannot be used.
    """

    def __init__(
        self,
        path: Path | DatasetFiles,
        schema: Sequence[SchemaField] | Path,
        *,
        max_examples: int | None = None,
        checks: Mapping[str, CheckLevel] | None = None,
        keep_errors: int = 10_000,
        workers: int | None = None,
    ) -> None:
        self._files = path if isinstance(path, DatasetFiles) else DatasetFiles.of(path)
        self._schema = schema if isinstance(schema, Path) else tuple(schema)
        self._max_examples = max_examples
        self._levels = codes.levels(checks or {})
        self._keep_errors = keep_errors
        self._workers = workers
        row_checker(self._schema)  # a schema that cannot be used is refused here

    def validate(self) -> DatasetValidationResult:
        """Check the dataset; the result tells errors, this raises only where a file cannot be read.

        Raises:
            DataError: a file cannot be read, or the problems past the bound cannot be kept.
            PreconditionError: a package that a file's compression takes is not installed.
        """
        started = time.perf_counter()
        report = Report(self._files, self._levels, self._keep_errors)
        check = SchemaPass(self._schema, report, self._max_examples)
        size_bytes = total_bytes(self._files)
        workers = worker_count(size_bytes) if self._workers is None else self._workers
        # One worker stands for two cores, which are busy then: a thread for the hash would only get in their way.
        with DatasetBlocks(self._files, hash_beside=workers != 1) as blocks:
            with contextlib.closing(_with_progress(blocks, size_bytes)) as shown:
                check.run(shown, workers)
            blocks.drain()
        if check.rows == 0:
            report.add("no-rows", None, "", "no rows")
        return DatasetValidationResult(
            contents=tuple(blocks.contents),
            rows=check.rows,
            blank_lines=check.blank_lines,
            complete=check.complete,
            errors=report.errors,
            warnings=report.warnings,
            counts_by_code=dict(sorted(report.counts.items())),
            memory_bytes_per_row=check.memory_bytes_per_row,
            duration_s=time.perf_counter() - started,
        )


def _with_progress(blocks: DatasetBlocks, size_bytes: int) -> Generator[PlacedBlock, None, None]:
    with progress.track("checking the dataset", size_bytes, "bytes") as bar:
        shown = 0
        for block in blocks:
            if blocks.bytes_read - shown >= _PROGRESS_BYTES:
                bar.advance(blocks.bytes_read - shown)
                shown = blocks.bytes_read
            yield block
        bar.advance(blocks.bytes_read - shown)


def _first(problems: ProblemLog | MergedProblems, limit: int, noun: str) -> list[str]:
    lines = [str(problem) for problem in itertools.islice(problems, limit)]
    more = len(problems) - len(lines)
    if more:
        lines.append(f"… and {more} more {noun}{'s' if more > 1 else ''}")
    return lines
