"""Tables for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinker.cli.printing import say

if TYPE_CHECKING:
    from rich.table import Table

    from thinker.runs.models import Measurement, PerformanceRecord, PlanRecord, Prediction, RunRecord
    from thinker.validation import DatasetValidationResult
    from thinker.validation.problems import Problem


def show_outcome(record: RunRecord) -> None:
    """What a run made: training in a line, metrics as a table."""
    if record.validation and not record.validation.skipped and record.validation.dataset:
        tests, dataset = record.validation.tests, record.validation.dataset
        suite = f"{tests.passed} tests passed" if tests else "test suite disabled"
        receipt = record.validation.receipt
        when = f"; passed before, on {receipt.created}" if receipt and receipt.reused else ""
        say(f"gate      {suite}; {dataset.rows} rows, {dataset.errors} errors, {dataset.warnings} warnings{when}")
        tokens: Any = dataset.statistics.get("tokens")
        if tokens and tokens["length"]:
            say(f"tokens    {_token_figures(tokens)}")
    if record.plan and not record.training:
        show_plan(record.plan)
        if record.estimates:
            show_prediction(record.estimates.predicted)
    if training := record.training:
        loss = f"loss {_figure(training.loss_first_quarter)} → {_figure(training.loss_last_quarter)}"
        seconds = record.timings_s.get("train", 0.0)
        say(f"training  {training.steps} steps in {seconds:.0f} s, {loss} (first, last quarter of steps)")
        if training.best_saved and training.best_step != training.steps:
            say(f"best      step {training.best_step}, evaluation loss {_figure(training.metrics.get('eval_loss'))}")
        if training.performance:
            show_performance(training.performance)
        say(f"adapter   {training.checkpoint_dir} (sha256 {(training.adapter_sha256 or '')[:12]})")
        if record.estimates and record.estimates.measured:
            show_estimates(record.estimates.predicted, record.estimates.measured)
    if evaluation := record.evaluation:
        columns: dict[str, Mapping[str, Any]] = {"adapter" if evaluation.adapter else "base model": evaluation.metrics}
        if evaluation.base_metrics is not None:
            columns["base model"] = evaluation.base_metrics
        show_metrics(columns)
        say(f"predictions  {evaluation.output}")


def _token_figures(tokens: Any) -> str:
    length = tokens["length"]
    return (
        f"{tokens['total']:,} in all, {tokens['trained']:,} with loss; a row has {length['min']:,} to "
        f"{length['max']:,}, median {length['median']:,} (max_seq_length {tokens['limit']:,})"
    )


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


def show_prediction(predicted: Prediction) -> None:
    """Memory, by parts, and time that training will take."""
    rows = []
    memories = [("peak memory", predicted.peak_memory_bytes, predicted.memory_parts)]
    if predicted.device_memory_bytes is not None:
        memories.append(("peak memory on the device", predicted.device_memory_bytes, predicted.device_parts))
    for name, size, parts in memories:
        rows.append([name, _gigabytes(size)])
        rows += [[f"  {part}", _gigabytes(bytes_)] for part, bytes_ in parts.items()]
    rows.append(["time of the steps", _duration(predicted.seconds)])
    source = {"probe": "measured by a probe of two steps", "formula": "computed, not probed"}.get(
        predicted.source or ""
    )
    show_table([f"estimate ({source})" if source else "estimate", ""], rows)


def show_estimates(predicted: Prediction, measured: Measurement) -> None:
    """What was said of training beside what it took."""
    rows = [["optimizer steps", str(predicted.steps), str(measured.steps)]]
    rows.append(["peak memory", _gigabytes(predicted.peak_memory_bytes), _gigabytes(measured.peak_memory_bytes)])
    if measured.device_memory_bytes is not None:
        rows.append([
            "peak memory on the device", _gigabytes(predicted.device_memory_bytes),
            _gigabytes(measured.device_memory_bytes),
        ])  # fmt: skip
    rows.append(["time of the steps", _duration(predicted.seconds), _duration(measured.seconds)])
    show_table(["estimate", "predicted", "measured"], rows)


def show_performance(found: PerformanceRecord) -> None:
    """Speed, memory and time by phase, in three lines."""
    speed = f"{_rounded(found.tokens_per_second)} tokens/s, {_rounded(found.trained_tokens_per_second)} with loss"
    if found.flops_per_second:
        speed += f"; {_operations(found.flops_per_second)}"
    if found.mfu is not None:
        speed += f", {found.mfu:.1%} of the peak (MFU)"
    say(f"speed     {speed}")
    memory = f"peak {_gigabytes(found.peak_memory_bytes)}"
    if found.peak_device_memory_bytes is not None:
        memory += f", on the device {_gigabytes(found.peak_device_memory_bytes)}"
    say(f"memory    {memory}")
    phases = [f"{name} {_duration(seconds)}" for name, seconds in found.seconds.items() if seconds >= 0.05]
    say(f"time      {', '.join(phases).replace('forward_backward', 'forward+backward')}")


def _operations(rate: float) -> str:
    return f"{rate / 1e12:.2f} TFLOP/s" if rate >= 1e11 else f"{rate / 1e9:.2f} GFLOP/s"


def _rounded(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:,.0f}"


def _gigabytes(size: int | None) -> str:
    return "–" if size is None else f"{size / 1e9:.2f} GB"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def show_problems(result: DatasetValidationResult, limit: int) -> None:
    """The first `limit` errors, then the first `limit` warnings, on standard error: a table for each file."""
    from rich.console import Console

    console = Console(file=sys.stderr, highlight=False)
    for word, colour, problems in (("error", "red", result.errors), ("warning", "yellow", result.warnings)):
        if len(problems):
            console.print(f"{len(problems):,} {word}{'s' if len(problems) > 1 else ''}", style=f"bold {colour}")
        for file, in_file in groupby(islice(problems, limit), key=lambda problem: problem.file):
            console.print(_problem_table(file, in_file, console.width // 4))
        if len(problems) > limit:
            console.print(f"… and {len(problems) - limit:,} more\n")


def _problem_table(file: str, problems: Iterable[Problem], widest: int) -> Table:
    """A table in which field and value take at most `widest` characters each."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from thinker.config.source import shown_path

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=Text(shown_path(Path(file))), title_justify="left")
    table.add_column("line", justify="right")
    table.add_column("field", overflow="fold", max_width=widest)
    table.add_column("code", no_wrap=True)
    table.add_column("problem")
    table.add_column("value", no_wrap=True, overflow="ellipsis", max_width=widest, style="dim")
    for problem in problems:
        texts = (problem.field, problem.code, problem.message, problem.excerpt)
        table.add_row(str(problem.line or ""), *map(Text, texts))
    return table


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
    # Brackets are text here: paths, arguments and patterns have them.
    Console(file=sys.stdout, highlight=False, markup=False, width=None if sys.stdout.isatty() else 160).print(table)


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "").replace("-", "").isdigit() or text in ("", "–")


def _figure(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
