"""A training killed again and again, while it writes checkpoints too, ends with the bits of one never killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from support.project import Project, make_project

from thinker.cli import main

KILLS, SEED, TIMEOUT_S = 25, 20, 120.0
# Steps take long enough for a kill to land in one.
SLOW = """
import time
from transformers import TrainerCallback
from thinker.training.hf_peft.backend import HfPeftBackend

class Pause(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        time.sleep(0.02)

def create(config, context):
    return HfPeftBackend(context, callbacks=[Pause()])
"""
SETTINGS = [
    "lora.lora_dropout=0.1", "training.num_epochs=40", "data.validation_split=0.1", "output.save_steps=2",
    "output.save_total_limit=2", "output.eval_steps=5", "output.logging_steps=1000",
]  # fmt: skip


@dataclass
class Training:
    """`thinker train` of a project in a process of its own, forked from one that has torch loaded."""

    project: Project
    context: ForkServerContext

    def start(self) -> BaseProcess:
        overrides = [part for setting in SETTINGS for part in ("--set", setting)]
        config = str(self.project.root / "pipeline.yaml")
        process = self.context.Process(target=main, args=(["-q", "train", "--config", config, *overrides],))
        process.start()
        return process

    def to_the_end(self) -> None:
        process = self.start()
        process.join(TIMEOUT_S)
        assert process.exitcode == 0

    def steps_logged(self, runs_before: int) -> int:
        """Lines of the step log of the run in progress; 0 before it trains."""
        logs = list((self.project.root / "runs").glob("*/steps.jsonl"))
        if len(list((self.project.root / "runs").glob("*.json"))) == runs_before or not logs:
            return 0
        newest = max(logs, key=lambda path: path.stat().st_mtime_ns)
        return sum('"loss"' in line for line in newest.read_text(encoding="utf-8").splitlines())

    def is_writing(self) -> bool:
        return any((self.project.root / "adapter/steps").glob("*/.writing/checkpoint-*"))


@pytest.fixture
def training(tmp_path: Path, tiny_model: Path) -> Callable[[str], Training]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "transformers", "peft", "thinker.training.hf_peft.trainer"])

    def make(name: str) -> Training:
        project = make_project(tmp_path / name, tiny_model)
        project.write("slow.py", SLOW)
        project.replace("pipeline.yaml", "backend: hf_peft", "backend: slow:create")
        return Training(project, context)

    return make


def wait_until(condition: Callable[[], bool], process: BaseProcess) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert process.exitcode is None, f"it ended ({process.exitcode}) before it was to be killed"
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def kill_at(moment: str, training: Training, dice: random.Random) -> bool:
    """Start, wait for a moment of that kind, and kill; whether a checkpoint was being written."""
    runs = len(list((training.project.root / "runs").glob("*.json")))
    process = training.start()
    if moment == "start":
        time.sleep(dice.uniform(0, 2))
    else:
        wait_until(lambda: training.steps_logged(runs) > 0, process)
        target = training.steps_logged(runs) + dice.randrange(4)
        wait_until(lambda: training.steps_logged(runs) >= target, process)
        if moment == "write":
            wait_until(training.is_writing, process)
            time.sleep(dice.uniform(0, 0.03))
        else:
            time.sleep(dice.uniform(0, 0.05))
    process.kill()
    process.join()
    assert process.exitcode == -9, f"it ended ({process.exitcode}) before it was killed"
    return training.is_writing()


def lines(project: Project) -> list[dict[str, Any]]:
    exact = ("step", "epoch", "loss", "learning_rate", "grad_norm", "eval_loss")
    log = project.root / "runs" / project.record()["run_id"] / "steps.jsonl"
    found = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [{name: line[name] for name in exact if name in line} for line in found]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="forks a process that has torch loaded")
def test_killed_at_25_random_moments_and_restarted_it_gives_the_same_bits(training: Callable[[str], Training]) -> None:
    whole, killed = training("whole"), training("killed")
    whole.to_the_end()
    dice = random.Random(SEED)
    moments = [dice.choice(("start", "step", "write", "write")) for _ in range(KILLS)]
    while_writing = sum(kill_at(moment, killed, dice) for moment in moments)
    assert while_writing >= 3, "kills were to land in the writing of checkpoints too"
    killed.to_the_end()
    record = killed.project.record()
    assert record["training"]["resumed_from"] is not None
    assert killed.project.adapter_sha256() == whole.project.adapter_sha256()
    assert [line["step"] for line in lines(killed.project) if "loss" in line] == list(range(1, 121))
    assert lines(killed.project) == lines(whole.project)
    assert not killed.is_writing()
