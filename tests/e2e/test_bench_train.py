"""The training benchmark, whole, on a model that trains in seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "bench_train.py"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What it writes of Thinker and plain Trainer, over two rounds of two steps, the second of which is short."""
    out = tmp_path_factory.mktemp("bench") / "found.json"
    options = ["--model", "tiny", "--peers", "thinker,trainer", "--repeat", "2", "--rows", "6", "--held-out", "3",
               "--micro-batch", "2", "--accumulation", "2", "--epochs", "1", "--learning-rate", "1e-2"]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name != "THINKER_SCIFACT_DIR"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options, "--json", str(out)],
        capture_output=True, text=True, check=False, env=environment, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return answer


def test_the_contenders_take_turns_in_alternating_order(found: dict[str, Any]) -> None:
    turns = [(run["round"], run["name"]) for run in found["runs"]]
    assert turns == [(0, "thinker"), (0, "trainer"), (1, "trainer"), (1, "thinker")]


def test_both_train_the_same_token_ids_to_the_same_losses(found: dict[str, Any]) -> None:
    first, *others = found["runs"]
    assert all(run["same_ids"] for run in found["runs"])
    assert len({run["tokens"] for run in found["runs"]}) == 1
    for run in others:
        assert run["losses"] == pytest.approx(first["losses"], rel=2e-4)


def test_both_adapters_come_to_the_same_loss_on_rows_they_have_not_seen(found: dict[str, Any]) -> None:
    losses = found["held_out_losses"]
    assert losses["thinker"] == pytest.approx(losses["trainer"], rel=1e-3)
    assert abs(losses["trainer"] - losses["base"]) > 1e-3  # they learned something


def test_what_it_says_of_speed_and_memory_adds_up(found: dict[str, Any]) -> None:
    for run in found["runs"]:
        assert 0 < run["after_first_s"] < run["seconds"]
        assert 0 < run["train_peak_bytes"] <= run["peak_bytes"]
    ours, theirs = found["runs"][0], found["runs"][1]
    assert found["ratios"]["thinker"]["trainer"]["tokens/s"][0] == pytest.approx(theirs["seconds"] / ours["seconds"])
