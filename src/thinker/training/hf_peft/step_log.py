"""What is told of each optimizer step: a line of JSON, the bar, a line of the log."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from transformers import TrainerCallback

from thinker.data.plan import Plan
from thinker.modeling.memory import resident_bytes
from thinker.progress import Bar
from thinker.training.hf_peft.performance import PhaseClock
from thinker.training.hf_peft.trainer import REMEDY
from thinker.training.step_rows import StepRows

if TYPE_CHECKING:
    from thinker.training.hf_peft.trainer import PlanTrainer

log = logging.getLogger("thinker")
NAME: Final = "steps.jsonl"


class StepLog(TrainerCallback):
    """Writes one JSON line for each optimizer step, moves the bar, and logs every `logging_steps`.

    Args:
        folder: of the run.
        bar: of the training.
        plan: the optimizer steps.
        rows: of each step.
        clock: a callback that runs before this one.
        writes: whether it writes the run's file; of several processes, the first one does.
    """

    def __init__(
        self, folder: Path, bar: Bar, plan: Plan, rows: StepRows, clock: PhaseClock, *, writes: bool = True
    ) -> None:
        self.path = folder / NAME
        self.losses: list[float] = []
        self.trainer: PlanTrainer | None = None
        self._bar, self._plan, self._rows, self._clock = bar, plan, rows, clock
        self._learning_rate = 0.0
        self._incomplete = not writes
        self._lines: list[str] = []
        if writes:
            folder.mkdir(parents=True, exist_ok=True)
            self.path.write_text("", encoding="utf-8")

    def save(self, folder: Path) -> None:
        """Write all lines so far into the folder of a checkpoint.

        Raises:
            OSError: as the file system says.
        """
        (folder / NAME).write_text("".join(f"{line}\n" for line in self._lines), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Begin with the lines that `save` left in the folder of a checkpoint."""
        for text in (folder / NAME).read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            if "loss" in line:  # null stands for one that was not finite
                self.losses.append(math.nan if line["loss"] is None else line["loss"])
            self._append(text)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the learning rate that this step uses."""
        self._learning_rate = float(kwargs["optimizer"].param_groups[0]["lr"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the step's line."""
        assert self.trainer is not None  # set right after the Trainer is made
        loss = self.trainer.take_step_loss()
        self.losses.append(loss)
        # In float16 the scaler leaves such a step out and goes on.
        if self.trainer.accelerator.scaler is None:
            self._require_finite(loss, self.trainer.last_grad_norm, state)
        self._write({
            "step": state.global_step,
            "epoch": round(state.global_step / self._plan.steps_per_epoch, 6),
            "loss": loss,
            "learning_rate": self._learning_rate,
            "grad_norm": self.trainer.last_grad_norm,
            **self._speed(state.global_step),
        })  # fmt: skip
        self._bar.advance(loss=loss, lr=self._learning_rate)
        if state.global_step % args.logging_steps == 0 or state.global_step == state.max_steps:
            log.info("step %d/%d: loss %.4f, learning rate %.3g", state.global_step, state.max_steps, loss,
                     self._learning_rate)  # fmt: skip

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the evaluation loss's line."""
        loss = kwargs["metrics"]["eval_loss"]
        self._write({"step": state.global_step, "eval_loss": loss})
        log.info("step %d/%d: evaluation loss %.4f", state.global_step, state.max_steps, loss)

    def _require_finite(self, loss: float, grad_norm: float | None, state: Any) -> None:
        for name, value in (("loss", loss), ("norm of the gradient", grad_norm)):
            if value is not None and not math.isfinite(value):
                raise FloatingPointError(
                    f"the {name} is {value} at step {state.global_step} of {state.max_steps}: training diverged; "
                    f"{REMEDY}; or look at the step's rows: {self._rows.places(state.global_step - 1)}"
                )

    def _speed(self, step: int) -> dict[str, float | None]:
        work, seconds = self._rows.work(step - 1), self._clock.step_seconds
        found: dict[str, float | None] = {
            "tokens": work.tokens,
            "trained_tokens": work.trained_tokens,
            "seconds": round(seconds, 6),
            "tokens_per_second": round(work.tokens / seconds, 1) if seconds else None,
            "memory_bytes": resident_bytes(),
        }
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            found["device_memory_bytes"] = torch.cuda.max_memory_allocated()
        return found

    def _write(self, line: dict[str, Any]) -> None:
        finite = {key: None if value is None or not math.isfinite(value) else value for key, value in line.items()}
        self._append(json.dumps(finite))

    def _append(self, line: str) -> None:
        self._lines.append(line)
        if self._incomplete:
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
        except OSError as error:  # a full disk: training is worth more than its log
            self._incomplete = True
            log.warning("the step log %s ends here: %s", self.path, error.strerror or error)
