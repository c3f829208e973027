"""The first pass over a dataset: each line by itself, and its row against the schema.

Most lines get a quick look (`fast_rows`), in several processes where that pays, which tells only whether there may be
something to say. What it is, and in which words, is found out here, in file order, by `parse_row` and the schema's
checker: problems are the same however the work was shared out.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from thinker.config.pipeline_models import SchemaField
from thinker.data.jsonl import BYTE_ORDER_MARK, RawLine, parse_row
from thinker.validation import codes
from thinker.validation.block_checks import verdicts
from thinker.validation.dataset_blocks import PlacedBlock
from thinker.validation.fast_rows import FastRows, Verdict
from thinker.validation.json_schema_rules import JsonSchemaChecker, row_checker
from thinker.validation.plugin_calls import PluginError
from thinker.validation.problems import excerpt_of_text, excerpt_of_value
from thinker.validation.report import Report
from thinker.validation.rules import Finding, RowChecker

_Check = Callable[[dict[str, Any], int], list[Finding]]


class SchemaPass:
    """Counts the rows of a dataset, and reports what is wrong with them.

    Args:
        schema: the fields of a row, or the file of a JSON Schema.
        report: takes the problems.
        max_examples: checks no more rows than this.

    Attributes:
        rows: rows checked so far, the broken ones included.
        blank_lines: so far; they are no rows.
        complete: False once a row was left out for `max_examples`.

    Raises:
        ConfigError: the schema cannot be used.
    """

    def __init__(self, schema: Sequence[SchemaField] | Path, report: Report, max_examples: int | None) -> None:
        self._schema = schema
        self._report = report
        self._max_examples = max_examples
        self._checker = row_checker(schema)
        self._fast = _fast_rows(schema, self._checker)
        self._next_line = 1
        self.rows = self.blank_lines = 0
        self.complete = True

    @property
    def memory_bytes_per_row(self) -> int:
        """What the schema's rules keep in memory for each row."""
        return self._checker.memory_bytes_per_row

    def run(self, blocks: Iterable[PlacedBlock], workers: int) -> None:
        """Check `blocks` to their end, or until `max_examples` is reached.

        Args:
            blocks: whole lines, in the dataset's order.
            workers: processes to start beside this one, where rows need not be checked one by one.
        """
        if isinstance(self._checker, RowChecker) and self._checker.one_by_one:
            for block in blocks:
                if not self._check_one_by_one(block, self._checker):
                    return
            return
        fields = () if isinstance(self._schema, Path) else self._schema
        with contextlib.closing(verdicts(blocks, self._fast, fields, workers if fields else 0)) as judged:
            for block, verdict in judged:
                if not self._check_suspects(block, verdict):
                    return

    def _check_suspects(self, block: PlacedBlock, verdict: Verdict) -> bool:
        """Count the block's rows and check those that did not pass the quick look; False if that is all."""
        first = self._first_line(block)
        suspects: Sequence[int] = verdict.suspects
        if self._max_examples is not None and self.rows + verdict.lines > self._max_examples:
            suspects = range(verdict.lines)
        self.rows += verdict.lines - len(suspects)
        lines = io.BytesIO(block.data).readlines() if suspects else []
        for number in suspects:
            if not self._check_line(block.file, first + number, lines[number]):
                return False
        self._next_line = first + verdict.lines
        return True

    def _check_one_by_one(self, block: PlacedBlock, checker: RowChecker) -> bool:
        """Check the block's rows, remembering what the next ones are held against; False if that is all."""
        number = self._first_line(block)
        for line in io.BytesIO(block.data):
            row = self._fast.accepted(line) if self.rows != self._max_examples else None
            if row is None:
                if not self._check_line(block.file, number, line):
                    return False
            else:
                self.rows += 1
                self._report_findings(checker.check_accepted, row, block.file, number)
            number += 1
        self._next_line = number
        return True

    def _first_line(self, block: PlacedBlock) -> int:
        return 1 if block.starts_file else self._next_line

    def _check_line(self, file: Path, number: int, line: bytes) -> bool:
        """Whatever there is to say about a line; False, and nothing is said, if it is a row too many."""
        raw = RawLine.of(number, line)
        if number == 1 and line.startswith(BYTE_ORDER_MARK):
            self._report.add("byte-order-mark", 1, "", "byte order mark, skipped", file=file)
        if raw.blank:
            self.blank_lines += 1
            self._report.add("blank-line", number, "", "blank line, skipped", file=file)
        elif self.rows == self._max_examples:
            self.complete = False
        else:
            self.rows += 1
            self._check_row(raw, file)
        return self.complete

    def _check_row(self, raw: RawLine, file: Path) -> None:
        parsed = parse_row(raw)
        for fault in parsed.problems:
            excerpt = excerpt_of_text(fault.text, fault.at)
            self._report.add(codes.CODES[fault.code].slug, raw.number, fault.field, fault.message, excerpt, file=file)
        if parsed.value is not None:
            self._report_findings(self._checker.check, parsed.value, file, raw.number)

    def _report_findings(self, check: _Check, row: dict[str, Any], file: Path, line: int) -> None:
        try:
            findings = check(row, line)
        except PluginError as error:
            raise error.at(file=file) from error.__cause__
        for finding in findings:
            excerpt = "" if finding.rule == "missing" else excerpt_of_value(finding.value)
            self._report.add(finding.rule, line, finding.field, finding.message, excerpt, file=file)


def _fast_rows(schema: Sequence[SchemaField] | Path, checker: RowChecker | JsonSchemaChecker) -> FastRows:
    if isinstance(checker, JsonSchemaChecker):
        return FastRows.of_checker(checker.accepts)
    assert not isinstance(schema, Path), "a path is a JSON Schema"
    return FastRows.of_fields(schema)
