from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
from pathlib import Path

import pytest

from thinker.runs.plots import confusion_plot, loss_plot

pytest.importorskip("matplotlib")

PNG = b"\x89PNG\r\n\x1a\n"
CONFUSION = {"supports": {"supports": 3, "none": 1}, "refutes": {"refutes": 2}, "none": {}}


def step_log(folder: Path, *lines: object) -> Path:
    path = folder / "steps.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def width_and_height(png: Path) -> tuple[int, int]:
    data = png.read_bytes()
    assert data.startswith(PNG)
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


def colours(png: Path) -> set[tuple[int, int, int]]:
    from matplotlib.image import imread

    pixels = (imread(png)[..., :3] * 255).round().astype(int).reshape(-1, 3)
    return {tuple(pixel) for pixel in pixels.tolist()}


def test_loss_plot_draws_both_losses(tmp_path: Path) -> None:
    lines = [{"step": i, "epoch": i / 10, "loss": 3 / i, "learning_rate": 1e-3} for i in range(1, 9)]
    log = step_log(tmp_path, *lines, {"step": 8, "eval_loss": 1.0})

    assert loss_plot(log, tmp_path / "loss.png")
    assert width_and_height(tmp_path / "loss.png")[0] > 600
    assert {(31, 95, 168), (209, 96, 31)} <= colours(tmp_path / "loss.png")


def test_loss_plot_without_evaluation_draws_training_alone(tmp_path: Path) -> None:
    assert loss_plot(step_log(tmp_path, {"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}), tmp_path / "loss.png")

    assert (209, 96, 31) not in colours(tmp_path / "loss.png")


def test_loss_plot_passes_over_undefined_losses_and_a_line_cut_short(tmp_path: Path) -> None:
    log = step_log(tmp_path, {"step": 1, "loss": 2.0}, {"step": 2, "loss": math.nan}, ["no", "object"], {"loss": 1})
    with log.open("a", encoding="utf-8") as stream:
        stream.write('{"step": 3, "lo')

    assert loss_plot(log, tmp_path / "loss.png")


def test_step_log_without_losses_draws_nothing(tmp_path: Path) -> None:
    assert not loss_plot(step_log(tmp_path, {"step": 1, "learning_rate": 1e-3}), tmp_path / "loss.png")
    assert not (tmp_path / "loss.png").exists()


def test_run_whose_every_loss_is_undefined_draws_nothing(tmp_path: Path) -> None:
    assert not loss_plot(step_log(tmp_path, {"step": 1, "loss": math.nan}), tmp_path / "loss.png")


def test_missing_step_log_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not loss_plot(tmp_path / "none.jsonl", tmp_path / "loss.png")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_plot_that_cannot_be_written_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not loss_plot(step_log(tmp_path, {"step": 1, "loss": 2.0}), tmp_path / "none" / "loss.png")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_confusion_plot_grows_with_its_labels(tmp_path: Path) -> None:
    assert confusion_plot(CONFUSION, tmp_path / "3.png")
    assert confusion_plot({"a": {"b": 1, "c": 2, "d": 3, "e": 4}}, tmp_path / "5.png")

    assert width_and_height(tmp_path / "5.png")[0] > width_and_height(tmp_path / "3.png")[0]


def test_confusion_without_labels_draws_nothing(tmp_path: Path) -> None:
    assert not confusion_plot({}, tmp_path / "c.png")


def test_same_figures_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        confusion_plot(CONFUSION, tmp_path / name)

    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()


def test_without_matplotlib_the_log_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    caplog.set_level(logging.INFO, "thinker")

    assert not confusion_plot(CONFUSION, tmp_path / "c.png")
    assert not loss_plot(step_log(tmp_path, {"step": 1, "loss": 2.0}), tmp_path / "l.png")
    assert all("extra 'plots'" in record.getMessage() for record in caplog.records)
    assert len(caplog.records) == 2


def test_drawing_leaves_pyplot_alone(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from thinker.runs.plots import confusion_plot;"
        f"assert confusion_plot({{'a': {{'a': 1}}}}, Path({str(tmp_path / 'c.png')!r}));"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", script], check=True)
