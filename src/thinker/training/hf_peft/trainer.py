"""A `transformers.Trainer` that follows the plan: its rows, its steps, its loss."""

from __future__ import annotations

import errno
import logging
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from thinker.data.encoded_rows import EncodedRows
from thinker.data.plan import Plan
from thinker.training.hf_peft.loader import PlanLoader
from thinker.training.hf_peft.loss import Collator, keeps_logits, weighted_nll_sum

log = logging.getLogger("thinker")

REMEDY = "lower training.learning_rate, or lengthen training.warmup_steps"
_NO_ROOM_BYTES = 1 << 16


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
            raise FloatingPointError(f"{name} is not finite after the last step: training diverged; {REMEDY}")
