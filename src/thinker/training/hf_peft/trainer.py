"""A `transformers.Trainer` that follows the plan: its rows, its steps, its loss."""

from __future__ import annotations

import errno
import inspect
import json
import logging
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from thinker.data.encoded_rows import EncodedRows
from thinker.data.plan import Plan
from thinker.progress import Bar
from thinker.training.hf_peft.loss import Collator, weighted_nll_sum

log = logging.getLogger("thinker")
Batch = dict[str, torch.Tensor]
_REMEDY = "lower training.learning_rate, or lengthen training.warmup_steps"
_NO_ROOM_BYTES = 1 << 16


class PlanLoader:
    """The micro-batches of one process, epoch by epoch, as the Trainer iterates over a data loader.

    Attributes:
        batch_size: rows in a full micro-batch.
        dataset: the rows; the Trainer asks it for its length.
    """

    def __init__(
        self, rows: EncodedRows, train_rows: Sequence[int], plan: Plan, collator: Collator, rank: int = 0
    ) -> None:
        self.dataset = train_rows
        self.batch_size = plan.micro_batch_size
        self._rows, self._train_rows, self._plan, self._collator, self._rank = rows, train_rows, plan, collator, rank
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration goes through."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Micro-batches in a whole epoch."""
        return math.ceil(self._plan.row_count / (self._plan.micro_batch_size * self._plan.world_size))

    def __iter__(self) -> Iterator[Batch]:
        first = self._epoch * self._plan.steps_per_epoch
        for index in range(first, min(first + self._plan.steps_per_epoch, len(self._plan))):
            step = self._plan.step(index)
            step_weight = math.fsum(self._rows.weight_sums[self._train_rows[row]] for row in step.rows)
            for rows in step.of_rank(self._rank):
                yield self._collator([self._rows[self._train_rows[row]] for row in rows], step_weight)


class PlanTrainer(Trainer):
    """Trains on the plan's micro-batches with the plan's loss.

    Args:
        model: the PEFT model.
        args: made by `training_arguments`.
        rows: the encoded rows.
        train_rows: for each row of the plan, its index in `rows`.
        held_out_rows: indices in `rows` for the evaluation loss.
        plan: the optimizer steps.
        collator: makes the micro-batches.
        callbacks: beside the Trainer's own.
    """

    control: Any

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        *,
        rows: EncodedRows,
        train_rows: Sequence[int],
        held_out_rows: Sequence[int],
        plan: Plan,
        collator: Collator,
        callbacks: list[TrainerCallback],
    ) -> None:
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_rows,
            eval_dataset=held_out_rows if held_out_rows else None,
            data_collator=collator,
            callbacks=callbacks,
        )
        self.remove_callback(PrinterCallback)
        # compute_loss divides by the whole step's weight; the Trainer must not divide once more.
        self.loss_is_scaled_for_ga = True
        self.step_loss = torch.zeros((), dtype=collator.weight_dtype)
        self.last_grad_norm: float | None = None
        self._encoded, self._train_rows, self._held_out_rows = rows, train_rows, held_out_rows
        self._plan, self._collator = plan, collator
        self._keeps_logits = keeps_logits(model)

    def get_train_dataloader(self) -> Any:
        """The plan's micro-batches. Not prepared by accelerate: the plan itself deals rows to processes."""
        return PlanLoader(self._encoded, self._train_rows, self._plan, self._collator, self.args.process_index)

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> torch.Tensor:
        """The micro-batch's part of the step's loss: Σ weight · nll / Σ weight of the whole step."""
        loss = weighted_nll_sum(model, inputs, keeps_logits=self._keeps_logits) / inputs["step_weight"]
        self.step_loss = self.step_loss.to(loss.device) + loss.detach()
        return loss

    def take_step_loss(self) -> float:
        """The loss of the optimizer step just done; starts the next one at zero."""
        loss = float(self.step_loss)
        self.step_loss = torch.zeros_like(self.step_loss)
        return loss

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Σ weight · nll / Σ weight over the held-out rows, told to the callbacks like any evaluation."""
        metrics = {f"{metric_key_prefix}_loss": self.held_out_loss()}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def held_out_loss(self) -> float:
        """The loss formula over all held-out rows as one step."""
        rows, size = list(self._held_out_rows), self._plan.micro_batch_size
        self.model.eval()
        total = 0.0
        for start in range(0, len(rows), size):
            examples = [self._encoded[row] for row in rows[start : start + size]]
            batch = self._prepare_inputs(self._collator(examples, 1.0))
            with torch.no_grad(), self.compute_loss_context_manager():
                total += float(weighted_nll_sum(self.model, batch, keeps_logits=self._keeps_logits))
        return total / math.fsum(self._encoded.weight_sums[row] for row in rows)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """An intermediate checkpoint, whole or not at all."""
        folder = Path(self.args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)
        except BaseException as error:
            full = shutil.disk_usage(self.args.output_dir).free < _NO_ROOM_BYTES
            shutil.rmtree(folder, ignore_errors=True)
            if full:  # torch's own message does not say so
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
            raise

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        self.last_grad_norm = None if norm is None else float(norm)
        return norm


def require_finite(model: torch.nn.Module) -> None:
    """Refuse an adapter that is worthless.

    Raises:
        FloatingPointError: a trained weight is infinite or not a number.
    """
    for name, weight in model.named_parameters():
        if weight.requires_grad and not torch.isfinite(weight).all():
            raise FloatingPointError(f"{name} is not finite after the last step: training diverged; {_REMEDY}")


def keeps_logits(model: Any) -> bool:
    """Whether the base model's forward can be asked for the logits of some positions alone.

    A model spread over several devices cannot: the positions would lie on the first, the hidden states on the last.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if len(set((getattr(base, "hf_device_map", None) or {}).values())) > 1:
        return False
    return "logits_to_keep" in inspect.signature(base.forward).parameters


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
                f"the loss is {loss} at step {state.global_step} of {state.max_steps}: training diverged; {_REMEDY}"
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
