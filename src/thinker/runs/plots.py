"""Pictures for the run's folder: the loss by step, the confusion matrix. Never a reason for a run to fail."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger("thinker")

_BLUE, _ORANGE, _GREY = "#1f5fa8", "#d1601f", "#808080"
_DPI: Final = 120
_MARKED_POINTS: Final = 60  # as many points can be told apart; a line through more needs no markers
Series = list[tuple[int, float]]


def loss_plot(step_log: Path, out: Path) -> bool:
    """Draw training loss, evaluation loss and learning rate against optimizer steps, as a PNG.

    Args:
        step_log: JSONL with `step`, and `loss`, `eval_loss`, `learning_rate` where a line has them.
        out: the PNG.

    Returns:
        Whether it was drawn. If not (no matplotlib, no losses, a file cannot be read or written), the log says why.
    """
    try:
        lines = _read_lines(step_log)
    except OSError as error:
        log.warning("no loss plot: cannot read %s: %s", step_log, error.strerror or error)
        return False
    loss, eval_loss, rate = (_series(lines, key) for key in ("loss", "eval_loss", "learning_rate"))
    if not loss and not eval_loss:
        log.info("no loss plot: %s holds no losses", step_log)
        return False
    if (figure := _new_figure((7.0, 4.6), "loss plot")) is None:
        return False
    rows = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1)) if rate else [figure.subplots()]
    for series, label, colour in ((loss, "training", _BLUE), (eval_loss, "evaluation", _ORANGE)):
        if series:
            marker = "o" if len(series) <= _MARKED_POINTS else None
            rows[0].plot(*_columns(series), label=label, color=colour, marker=marker, markersize=3, linewidth=1.4)
    rows[0].set_ylabel("loss (nats per weighted token)")
    rows[0].set_ylim(bottom=0)
    rows[0].legend(frameon=False)
    if rate:
        rows[1].plot(*_columns(rate), color=_GREY, linewidth=1.2)
        rows[1].set_ylabel("learning\nrate")
        rows[1].ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    rows[-1].set_xlabel("optimizer step")
    rows[-1].locator_params(axis="x", integer=True)
    for axes in rows:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return _save(figure, out)


def confusion_plot(confusion: dict[str, dict[str, int]], out: Path) -> bool:
    """Draw a confusion matrix as a PNG: rows are gold labels, columns predicted ones, shades the share of the row.

    Args:
        confusion: gold label -> predicted label -> count.
        out: the PNG.

    Returns:
        Whether it was drawn. If not (no matplotlib, no labels, the file cannot be written), the log says why.
    """
    gold = list(confusion)
    predicted = list(dict.fromkeys([*gold, *(label for row in confusion.values() for label in row)]))
    if not gold:
        log.info("no confusion plot: there are no labels")
        return False
    size = (2.2 + 0.95 * len(predicted), 1.6 + 0.8 * len(gold))
    if (figure := _new_figure(size, "confusion plot")) is None:
        return False
    counts = [[confusion[row].get(column, 0) for column in predicted] for row in gold]
    shares = [[count / max(sum(row), 1) for count in row] for row in counts]
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            ink = "white" if shares[i][j] > 0.55 else "black"
            axes.text(j, i, f"{count}\n{shares[i][j]:.0%}", ha="center", va="center", color=ink, fontsize=9)
    axes.set_xticks(range(len(predicted)), predicted)
    axes.set_yticks(range(len(gold)), gold)
    axes.set_xlabel("predicted")
    axes.set_ylabel("gold")
    figure.colorbar(image, ax=axes, label="share of the gold label", format=lambda share, _: f"{share:.0%}")
    return _save(figure, out)


def _new_figure(size: tuple[float, float], what: str) -> Figure | None:
    """A figure of `size` inches that draws with Agg, leaving pyplot and its backend to the user."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        log.info("no %s: matplotlib is not installed; it comes with Thinker's extra 'plots'", what)
        return None
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, out: Path) -> bool:
    try:
        figure.savefig(out, format="png", dpi=_DPI)
    except OSError as error:
        log.warning("cannot write %s: %s", out, error.strerror or error)
        return False
    return True


def _read_lines(step_log: Path) -> list[dict[str, Any]]:
    """The objects of a step log; a line that a crash cut short is left out."""
    lines: list[dict[str, Any]] = []
    for number, text in enumerate(step_log.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        try:
            line = json.loads(text)
        except ValueError:
            log.debug("%s:%d: not JSON, left out of the plot", step_log, number)
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines


def _series(lines: Iterable[dict[str, Any]], key: str) -> Series:
    """`(step, value)` of the lines with a finite number under `key`, by step; of a step logged again, the last."""
    values = {line["step"]: line[key] for line in lines if isinstance(line.get(key), int | float)}
    return sorted((step, float(value)) for step, value in values.items() if math.isfinite(value))


def _columns(series: Series) -> tuple[list[int], list[float]]:
    return [step for step, _ in series], [value for _, value in series]
