"""JUnit XML, which nearly every CI service shows: a test case for each code that occurred.

An error fails its test case; a warning stands in its output. Each test case lists its first problems; the other
reports hold all of them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TextIO
from xml.sax.saxutils import escape, quoteattr

from thinker.validation import codes
from thinker.validation.problems import Problem
from thinker.validation.reports.problem_fields import said, shown_file

if TYPE_CHECKING:
    from thinker.validation.dataset import DatasetValidationResult

_LISTED: Final = 100


@dataclass
class _Group:
    """The problems of one code."""

    first: Problem
    lines: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, problem: Problem) -> None:
        self.count += 1
        if self.count <= _LISTED:
            excerpt = f"  {problem.excerpt}" if problem.excerpt else ""
            place = shown_file(problem) + (f":{problem.line}" if problem.line else "")
            self.lines.append(f"{place}: {said(problem)}{excerpt}")


def write_junit(result: DatasetValidationResult, out: TextIO) -> None:
    """One test suite, with a test case for each code that occurred and one that says how many rows were checked."""
    groups: dict[str, _Group] = {}
    for problem in itertools.chain(result.errors, result.warnings):
        if problem.code not in groups:
            groups[problem.code] = _Group(problem)
        groups[problem.code].add(problem)
    failures = sum(group.first.level == "error" for group in groups.values())
    counts = f'tests="{len(groups) + 1}" failures="{failures}" errors="0" skipped="0" time="{result.duration_s:.3f}"'
    out.write('<?xml version="1.0" encoding="utf-8"?>\n')
    out.write(f'<testsuites name="thinker" {counts}>\n<testsuite name="thinker dataset" {counts}>\n')
    out.write(f'<properties><property name="sha256" value="{result.sha256}"/></properties>\n')
    rows = f"<system-out>{result.rows} rows checked</system-out>"
    out.write(f'<testcase classname="thinker.dataset" name="rows" time="{result.duration_s:.3f}">{rows}</testcase>\n')
    for code in sorted(groups):
        out.write(_test_case(groups[code]))
    out.write("</testsuite>\n</testsuites>\n")


def _test_case(group: _Group) -> str:
    entry = codes.CODES[group.first.code]
    line = f' line="{group.first.line}"' if group.first.line else ""
    more = [f"… and {group.count - _LISTED} more"] if group.count > _LISTED else []
    text = escape("\n".join([*group.lines, *more]))
    if group.first.level == "error":
        message = quoteattr(f"{group.count} × {entry.meaning}")
        body = f'<failure type="{entry.code}" message={message}>{text}</failure>'
    else:
        body = f"<system-out>{text}</system-out>"
    name = quoteattr(f"{entry.code} {entry.slug}")
    file = quoteattr(shown_file(group.first))
    return f'<testcase classname="thinker.dataset" name={name} file={file}{line} time="0">{body}</testcase>\n'
