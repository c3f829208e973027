"""`thinker check`: files by themselves, without a pipeline and without a record."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from thinker.cli.options import CommonOptions
from thinker.errors import EXIT_OK, ConfigError, DataError

if TYPE_CHECKING:
    from thinker.validation import DatasetValidationResult
    from thinker.validation.problems import Problem

log = logging.getLogger("thinker")


def check_files(
    common: CommonOptions,
    files: Sequence[str],
    schema: Path | None,
    *,
    max_examples: int | None,
    max_errors: int,
    reports: Sequence[str],
) -> int:
    """Check `files` as one dataset, against `schema` if there is one, and return the exit code: 0, or 4 for errors."""
    from thinker.cli.reporting import reporting
    from thinker.cli.session import configure_output
    from thinker.config.schema_file import load_schema
    from thinker.data.dataset_files import DatasetFiles
    from thinker.validation import DatasetValidator
    from thinker.validation.reports import refuse_overwriting

    configure_output(common)
    telling = reporting(common, max_errors, reports)
    paths = _existing(files)
    row_schema = load_schema(schema) if schema else ()
    refuse_overwriting(telling.targets, [*paths, *([schema] if schema else [])])
    result = DatasetValidator(DatasetFiles(paths), row_schema, max_examples=max_examples).validate()
    telling.tell(result)
    if telling.show is None and result.error_count == 1:  # which `tell` leaves to an exception
        log.error("%s", result.error_lines()[0])
    exit_code = EXIT_OK if result.ok else DataError.exit_code
    if common.as_json:
        _print_json(files, result, exit_code)
    elif common.verbosity >= 0:
        counts = f"{result.rows} rows, {result.error_count} errors, {result.warning_count} warnings"
        sys.stdout.write(f"{' '.join(files)}: {counts}, sha256 {result.sha256}\n")
    return exit_code


def _existing(files: Sequence[str]) -> tuple[Path, ...]:
    from thinker.config.paths import input_problem

    problems = [problem for file in files if (problem := input_problem(Path(file).absolute(), file))]
    if problems:
        raise ConfigError("\n".join(problems), tuple(problems))
    return tuple(Path(file) for file in files)


def _print_json(files: Sequence[str], result: DatasetValidationResult, exit_code: int) -> None:
    """One object, its lists written while they are read: they may be long."""
    from thinker.validation.reports.batched import batched

    head = {
        "status": "success" if result.ok else "failed",
        "exit_code": exit_code,
        "ok": result.ok,
        "files": list(files),
        "sha256": result.sha256,
        "size_bytes": result.size_bytes,
        "rows": result.rows,
        "blank_lines": result.blank_lines,
        "complete": result.complete,
        "error_count": result.error_count,
        "warning_count": result.warning_count,
        "counts_by_code": dict(result.counts_by_code),
        "duration_s": round(result.duration_s, 6),
    }
    with batched(sys.stdout) as out:
        out.write(json.dumps(head, ensure_ascii=False)[:-1])
        _write_list(out, "errors", result.errors)
        _write_list(out, "warnings", result.warnings)
        out.write("}\n")


def _write_list(out: TextIO, key: str, problems: Iterable[Problem]) -> None:
    from thinker.validation.reports.problem_fields import as_json

    out.write(f', "{key}": [')
    separator = "\n"
    for problem in problems:
        out.write(separator + json.dumps(as_json(problem), ensure_ascii=False))
        separator = ",\n"
    out.write("]")
