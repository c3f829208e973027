"""Tables for people."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thinker.runs.models import PlanRecord, RunRecord


def show_outcome(record: RunRecord) -> None:
    """What a run made: training in a line, metrics as a table."""
    if record.validation and not record.validation.skipped and record.validation.dataset:
        tests, dataset = record.validation.tests, record.validation.dataset
        suite = f"{tests.passed} tests passed" if tests else "test suite disabled"
        _line(f"gate      {suite}; {dataset.rows} rows, {dataset.errors} errors, {dataset.warnings} warnings")
    if record.plan and not record.training:
        show_plan(record.plan)
    if training := record.training:
        loss = f"loss {_figure(training.loss_first_quarter)} → {_figure(training.loss_last_quarter)}"
        seconds = record.timings_s.get("train", 0.0)
        _line(f"training  {training.steps} steps in {seconds:.0f} s, {loss} (first, last quarter of steps)")
        _line(f"adapter   {training.checkpoint_dir} (sha256 {(training.adapter_sha256 or '')[:12]})")
    if evaluation := record.evaluation:
        columns: dict[str, Mapping[str, Any]] = {"adapter" if evaluation.adapter else "base model": evaluation.metrics}
        if evaluation.base_metrics is not None:
            columns["base model"] = evaluation.base_metrics
        show_metrics(columns)
        _line(f"predictions  {evaluation.output}")


def show_metrics(columns: Mapping[str, Mapping[str, Any]]) -> None:
    """Metrics side by side; lists (a figure for each claim) stay in the record."""
    first = next(iter(columns.values()))
    rows = [
        [name, *(_figure(metrics.get(name)) for metrics in columns.values())]
        for name, value in first.items()
        if not isinstance(value, list)
    ]
    show_table(["metric", *columns], rows)


def show_plan(plan: PlanRecord) -> None:
    """What training would do."""
    rows = [
        ["optimizer steps", str(plan.steps)],
        ["rows to train on", str(plan.rows)],
        ["rows held out", str(plan.held_out_rows)],
        ["tokens in all steps", f"{plan.tokens:,}"],
        ["  of them with loss", f"{plan.trained_tokens:,}"],
        ["longest row, tokens", f"{plan.longest_row_tokens:,}"],
    ]
    show_table(["plan", ""], rows)


def show_table(header: list[str], rows: list[list[str]]) -> None:
    """A table on standard output, ruled on a terminal and plain in a file."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*header, box=box.SIMPLE, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right" if all(_is_number(row[table.columns.index(column)]) for row in rows) else "left"
    for row in rows:
        table.add_row(*row)
    Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 160).print(table)


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "").replace("-", "").isdigit() or text in ("", "–")


def _figure(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _line(text: str) -> None:
    sys.stdout.write(text + "\n")
