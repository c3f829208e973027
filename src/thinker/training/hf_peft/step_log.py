"""What is told of each optimizer step: a line of JSON, the bar, a line of the log."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from thinker.data.plan import Plan
from thinker.progress import Bar
from thinker.training.hf_peft.trainer import REMEDY

if TYPE_CHECKING:
    from thinker.training.hf_peft.trainer import PlanTrainer

log = logging.getLogger("thinker")


class StepLog(TrainerCallback):
    """Writes one JSON line for each optimizer step, moves the bar, and logs every `logging_steps`."""

    def __init__(self, path: Path, bar: Bar, plan: Plan) -> None:
        self.path = path
        self.losses: list[float] = []
        self.trainer: PlanTrainer | None = None
        self._bar, self._plan = bar, plan
        self._learning_rate = 0.0
        self._incomplete = False
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("", encoding="utf-8")

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the learning rate that this step uses."""
        self._learning_rate = float(kwargs["optimizer"].param_groups[0]["lr"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the step's line."""
        assert self.trainer is not None  # set right after the Trainer is made
        loss = self.trainer.take_step_loss()
        self.losses.append(loss)
        # In float16 the scaler leaves such a step out and goes on.
        if not math.isfinite(loss) and self.trainer.accelerator.scaler is None:
            raise FloatingPointError(
                f"the loss is {loss} at step {state.global_step} of {state.max_steps}: training diverged; {REMEDY}"
            )
        self._write({
            "step": state.global_step,
            "epoch": round(state.global_step / self._plan.steps_per_epoch, 6),
            "loss": loss,
            "learning_rate": self._learning_rate,
            "grad_norm": self.trainer.last_grad_norm,
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

    def _write(self, line: dict[str, Any]) -> None:
        if self._incomplete:
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                finite = {
                    key: None if value is None or not math.isfinite(value) else value for key, value in line.items()
                }
                file.write(json.dumps(finite) + "\n")
        except OSError as error:  # a full disk: training is worth more than its log
            self._incomplete = True
            log.warning("the step log %s ends here: %s", self.path, error.strerror or error)
