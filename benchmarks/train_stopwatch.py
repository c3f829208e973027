"""Times every `transformers.Trainer` of a process alike, for train_peers.py: a callback that each Trainer gets."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, trainer


class Stopwatch(TrainerCallback):
    """Notes when a Trainer was made and when each of its steps ended, its losses, and the peak of memory meanwhile.

    Attributes:
        made, ended: in seconds, by one clock; the first of a Trainer that is ready, the others of steps.
        losses: as logged, one a step.
        peak_bytes: highest resident set of this process while it trained.
        device_peak_bytes: most that torch had given out on the GPU while it trained; None on CPU.
        dataset: that was trained.
    """

    def __init__(self) -> None:
        self.made = 0.0
        self.ended: list[float] = []
        self.losses: list[float] = []
        self.peak_bytes = 0
        self.device_peak_bytes: int | None = None
        self.dataset: Any = None

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The Trainer is ready."""
        with contextlib.suppress(OSError):  # proc(5): the peak of the resident set starts anew
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self.made = _now()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """An optimizer step is done."""
        self.ended.append(_now())
        self.peak_bytes = max(self.peak_bytes, peak_bytes())
        self.dataset = kwargs["train_dataloader"].dataset
        if torch.cuda.is_available():
            self.device_peak_bytes = torch.cuda.max_memory_allocated()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """A line of the Trainer's log: of a step, or its summary at the end."""
        if "loss" in logs:
            self.losses.append(float(logs["loss"]))


def watch_trainers() -> Stopwatch:
    """A stopwatch on the Trainers that this process makes from now on."""
    stopwatch = Stopwatch()
    trainer.DEFAULT_CALLBACKS.append(stopwatch)
    return stopwatch


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_bytes() -> int:
    """The kernel's mark of this process's highest resident set; 0 where it keeps none."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/status").read_text(encoding="ascii").partition("VmHWM:")[2].split()[0]) * 1024
    return 0
