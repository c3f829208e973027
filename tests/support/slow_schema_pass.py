"""The schema pass as it reads when speed is no matter: one line after the other, each looked at in full."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from thinker.config.pipeline_models import CheckLevel, SchemaField
from thinker.data.dataset_files import DatasetFiles
from thinker.data.jsonl import HashingLines, parse_row
from thinker.validation import DatasetValidationResult, codes
from thinker.validation.problems import excerpt_of_text, excerpt_of_value
from thinker.validation.report import Report
from thinker.validation.rules import RowChecker


def slow_schema_pass(
    files: DatasetFiles,
    schema: Sequence[SchemaField],
    *,
    max_examples: int | None = None,
    checks: Mapping[str, CheckLevel] | None = None,
) -> dict[str, Any]:
    """What `facts` says of the result that a validator should have."""
    report = Report(files, codes.levels(checks or {}))
    checker = RowChecker(schema)
    rows, blank_lines, complete = 0, 0, True
    for path in files.paths:
        with HashingLines(path) as lines:
            for raw in lines if complete else ():
                if raw.number == 1 and lines.has_byte_order_mark:
                    report.add("byte-order-mark", 1, "", "byte order mark, skipped", file=path)
                if raw.blank:
                    blank_lines += 1
                    report.add("blank-line", raw.number, "", "blank line, skipped", file=path)
                    continue
                if rows == max_examples:
                    complete = False
                    break
                rows += 1
                parsed = parse_row(raw)
                for fault in parsed.problems:
                    excerpt = excerpt_of_text(fault.text, fault.at)
                    report.add(codes.CODES[fault.code].slug, raw.number, fault.field, fault.message, excerpt, file=path)
                for finding in checker.check(parsed.value, raw.number) if parsed.value is not None else ():
                    excerpt = "" if finding.rule == "missing" else excerpt_of_value(finding.value)
                    report.add(finding.rule, raw.number, finding.field, finding.message, excerpt, file=path)
    if rows == 0:
        report.add("no-rows", None, "", "no rows")
    return {
        "sha256": files.sha256(),
        "rows": rows,
        "blank_lines": blank_lines,
        "complete": complete,
        "errors": [dataclasses.astuple(problem) for problem in report.errors],
        "warnings": [dataclasses.astuple(problem) for problem in report.warnings],
    }


def facts(result: DatasetValidationResult) -> dict[str, Any]:
    """All that must not depend on how the work was done."""
    return {
        "sha256": result.sha256,
        "rows": result.rows,
        "blank_lines": result.blank_lines,
        "complete": result.complete,
        "errors": [dataclasses.astuple(problem) for problem in result.errors],
        "warnings": [dataclasses.astuple(problem) for problem in result.warnings],
    }
