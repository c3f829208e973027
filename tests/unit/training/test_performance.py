"""What a training is said to have achieved: rates, utilization, time by phase."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from thinker.modeling.peak_flops import peak_flops
from thinker.training.hf_peft.performance import PhaseClock
from thinker.training.performance import PHASES, Performance


def test_rates_are_over_the_time_of_the_steps_alone() -> None:
    seconds = {"load": 100.0, "data": 1.0, "forward_backward": 6.0, "optimizer": 3.0, "evaluation": 50.0}
    found = Performance(5, 1000, 200, 4e12, seconds, devices=2, peak_flops=1e12)
    assert (found.tokens_per_second, found.trained_tokens_per_second) == (100, 20)
    assert found.flops_per_second == 4e11
    assert found.mfu == pytest.approx(0.2)


def test_nothing_is_said_of_what_is_not_known() -> None:
    assert Performance(5, 10, 2, 1e6, {"optimizer": 1.0}).mfu is None
    assert Performance(0, 0, 0, 0.0, {}, peak_flops=1e12).tokens_per_second is None


@pytest.mark.parametrize(
    ("name", "precision", "teraflops"),
    [
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989.4),
        ("NVIDIA H100 PCIe", "bfloat16", 756),
        ("NVIDIA H200", "float32", 67),
        ("NVIDIA A100-SXM4-40GB", "float16", 312),
        ("NVIDIA A100 80GB PCIe", "bfloat16", 312),
        ("NVIDIA L4", "bfloat16", 121),
        ("NVIDIA L40S", "bfloat16", 362),
        ("Tesla V100-SXM2-16GB", "float16", 125),
        ("Tesla T4", "float16", 65),
        ("NVIDIA GeForce RTX 3090", "bfloat16", 71.2),
        ("NVIDIA GeForce RTX 4090", "bfloat16", 165.2),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", "float32", 44.1),
        ("NVIDIA GeForce RTX 5090", "bfloat16", 209.6),
        ("Tesla T4", "bfloat16", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bfloat16", None),
        ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", "bfloat16", None),
        ("NVIDIA L40", "bfloat16", None),
        ("NVIDIA T400 4GB", "float16", None),
        ("", "float32", None),
    ],
)
def test_the_peak_is_that_of_the_device_and_the_precision(name: str, precision: str, teraflops: float | None) -> None:
    found = peak_flops(name, precision)
    assert found is None if teraflops is None else found == pytest.approx(teraflops * 1e12)


def test_each_stretch_of_time_is_charged_to_its_phase() -> None:
    began = time.perf_counter()
    clock = PhaseClock(torch.device("cpu"))
    spent = {phase: 0.01 * (place + 1) for place, phase in enumerate(PHASES)}
    with clock.phase("load"):
        time.sleep(spent["load"])
    for event, phase in (
        (clock.on_train_begin, "start"), (clock.on_step_begin, "data"),
        (clock.on_pre_optimizer_step, "forward_backward"), (clock.on_step_end, "optimizer"),
        (clock.on_evaluate, "evaluation"), (clock.on_save, "checkpoints"),
    ):  # fmt: skip
        time.sleep(spent[phase])
        event(None, None, None)
    clock.on_train_end(None, None, None)
    time.sleep(0.05)
    with clock.phase("saving"):
        time.sleep(spent["saving"])
    assert set(clock.seconds) == set(PHASES)
    assert all(clock.seconds[phase] >= seconds for phase, seconds in spent.items())
    assert sum(clock.seconds.values()) <= time.perf_counter() - began - 0.05  # nothing twice, and not what is no phase
    assert clock.step_seconds == pytest.approx(sum(clock.seconds[p] for p in ("data", "forward_backward", "optimizer")))


class Event:
    """An event of a device that has not got so far yet, until told."""

    reached = False

    def __init__(self, **settings: Any) -> None:
        self.at_ms = 0.0

    def record(self) -> None:
        self.at_ms = next(self.times)

    def query(self) -> bool:
        return Event.reached

    def elapsed_time(self, later: Event) -> float:
        return later.at_ms - self.at_ms

    times: Any = iter(())


def test_on_cuda_a_steps_time_is_divided_as_the_device_divides_it_without_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Event.times, Event.reached = iter([0.0, 30.0, 40.0, 50.0, 80.0, 90.0]), False
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: setattr(Event, "reached", True))
    clock = PhaseClock(torch.device("cuda"))
    events: list[Callable[..., None]] = [clock.on_step_begin, clock.on_pre_optimizer_step, clock.on_step_end]
    for _ in range(2):
        for event in events:
            event(None, None, None)
            time.sleep(0.01)
    assert "forward_backward" not in clock.seconds  # the device has not got there
    clock.on_train_end(None, None, None)
    assert clock.seconds["forward_backward"] == pytest.approx(3 * clock.seconds["optimizer"])
    assert clock.seconds["forward_backward"] + clock.seconds["optimizer"] >= 0.04
