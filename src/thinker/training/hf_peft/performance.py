"""Times by phase, taken by callbacks, without waiting for the device where nothing else does."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

import torch
from transformers import TrainerCallback

from thinker.modeling.devices import Precision
from thinker.modeling.peak_flops import peak_flops
from thinker.training.performance import PHASES, Performance
from thinker.training.step_rows import StepRows

_PASSES: Final = "forward_backward"


class PhaseClock(TrainerCallback):
    """Charges each stretch of time to a phase of training.

    On CUDA the border between passes and optimizer is marked in the device's own queue, and read once it has been
    passed: looking at it makes nothing wait.

    Attributes:
        seconds: by phase, so far.
        step_seconds: of the optimizer step that ended last.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.step_seconds = 0.0
        self._on_cuda = device.type == "cuda"
        self._last = self._step_began = time.perf_counter()
        self._started: Any = None
        self._computed: Any = None
        self._pending: list[tuple[Any, Any, Any, float]] = []

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Charge what happens inside to `name`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._last = time.perf_counter()
            self.seconds[name] += self._last - began

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The model is set up, and the optimizer made."""
        self._charge("start")
        self._step_began = self._last

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The step's micro-batches are there."""
        self._charge("data")
        if self._on_cuda:
            self._settle()
            self._started = self._mark()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """All gradients are there, and clipped."""
        if self._on_cuda:
            self._computed = self._mark()
        else:
            self._charge(_PASSES)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The weights are updated."""
        if self._on_cuda:
            now = time.perf_counter()
            self._pending.append((self._started, self._computed, self._mark(), now - self._last))
            self._last = now
        else:
            self._charge("optimizer")
        self.step_seconds = self._last - self._step_began
        self._step_began = self._last

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """An evaluation is over."""
        self._charge("evaluation")
        self._step_began = self._last

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A checkpoint is written."""
        self._charge("checkpoints")
        self._step_began = self._last

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Training is over."""
        if self._on_cuda:
            torch.cuda.synchronize()
            self._settle()
        self._last = time.perf_counter()

    def _charge(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] += now - self._last
        self._last = now

    def _mark(self) -> Any:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _settle(self) -> None:
        """Share out the wall time of the steps that the device has finished as its own clock does."""
        while self._pending and self._pending[0][2].query():
            started, computed, ended, wall = self._pending.pop(0)
            passes, optimizer = started.elapsed_time(computed), computed.elapsed_time(ended)
            share = passes / (passes + optimizer) if passes + optimizer else 1.0
            self.seconds[_PASSES] += wall * share
            self.seconds["optimizer"] += wall * (1 - share)


def performance(
    clock: PhaseClock, rows: StepRows, steps: range, *, device: torch.device, precision: Precision
) -> Performance:
    """The report at the end.

    Args:
        clock: that ran along.
        rows: of each step.
        steps: that this process took, counted from 0.
        device: that it was trained on.
        precision: that it was computed in.
    """
    work = [rows.work(step) for step in steps]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return Performance(
        steps=len(steps),
        tokens=sum(step.tokens for step in work),
        trained_tokens=sum(step.trained_tokens for step in work),
        flops=float(sum(step.flops for step in work)),
        seconds={phase: clock.seconds.get(phase, 0.0) for phase in PHASES},
        devices=rows.context.plan.world_size,
        peak_flops=peak_flops(name, precision.compute),
    )
