"""Rows through the second pass of the gate, by the checks that a test names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from support.project import jsonl
from thinker.data.dataset_files import DatasetFiles
from thinker.tasks.base import Task
from thinker.validation.codes import CODES, levels
from thinker.validation.preflight import Check, run_preflight
from thinker.validation.problems import Problem
from thinker.validation.report import Report

Row = Mapping[str, Any]


class Passed(NamedTuple):
    """What the checks found, in the order in which they reported it, and their figures."""

    problems: list[Problem]
    statistics: Mapping[str, Any]

    @property
    def places(self) -> list[tuple[str, int | None, str]]:
        """Code, line and field of each problem."""
        return [(each.code, each.line, each.field) for each in self.problems]


def second_pass(folder: Path, task: Task, checks: Sequence[Check], *files: Sequence[Row]) -> Passed:
    """Write each of `files` to a.jsonl, b.jsonl, … and hand the rows to `checks`, all of whose levels are `warn`."""
    paths = []
    for name, rows in zip("abcdef", files, strict=False):
        paths.append(folder / f"{name}.jsonl")
        paths[-1].write_text(jsonl(rows), encoding="utf-8")
    dataset = DatasetFiles(tuple(paths))
    report = Report(dataset, levels({code: "warn" for code, entry in CODES.items() if not entry.fixed}))
    found = run_preflight(dataset, task, checks, report, expected_sha256=dataset.sha256())
    assert not list(report.errors)
    return Passed(list(report.warnings), found.statistics)
