"""A `transformers.Trainer` that follows the plan: its rows, its steps, its loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PrinterCallback, TrainerCallback, TrainingArguments

from thinker.data.encoded_rows import EncodedRows
from thinker.data.plan import Plan
from thinker.training.hf_peft.loader import PlanLoader, without_loss
from thinker.training.hf_peft.loss import RowLayout
from thinker.training.hf_peft.resumable import ResumableTrainer, Resuming

REMEDY = "lower training.learning_rate, or lengthen training.warmup_steps"


class PlanTrainer(ResumableTrainer):
    """Trains on the plan's micro-batches with the plan's loss.

    Args:
        model: the PEFT model.
        args: made by `training_arguments`.
        rows: the encoded rows.
        train_rows: for each row of the plan, its index in `rows`.
        held_out_rows: indices in `rows` for the evaluation loss.
        plan: the optimizer steps.
        layout: of the rows in a micro-batch.
        callbacks: beside the Trainer's own.
        resuming: where checkpoints go, and the one to go on from.
    """

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        *,
        rows: EncodedRows,
        train_rows: Sequence[int],
        held_out_rows: Sequence[int],
        plan: Plan,
        layout: RowLayout,
        callbacks: list[TrainerCallback],
        resuming: Resuming,
    ) -> None:
        super().__init__(
            resuming,
            plan.steps_per_epoch,
            model=model,
            args=args,
            train_dataset=train_rows,
            eval_dataset=held_out_rows if held_out_rows else None,
            data_collator=layout.collate,
            callbacks=callbacks,
        )
        self.remove_callback(PrinterCallback)
        # compute_loss divides by the whole step's weight; the Trainer must not divide once more.
        self.loss_is_scaled_for_ga = True
        self.step_loss = torch.zeros((), dtype=layout.weight_dtype)
        self.last_grad_norm: float | None = None
        self._encoded, self._train_rows, self._held_out_rows = rows, train_rows, held_out_rows
        self._plan, self._layout = plan, layout

    def get_train_dataloader(self) -> Any:
        """The plan's micro-batches. Not prepared by accelerate: the plan itself deals rows to processes."""
        return PlanLoader(
            self._encoded, self._train_rows, self._plan, self._layout.collate, self.args.process_index,
            ended=self.has_ended,
        )  # fmt: skip

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> torch.Tensor:
        """The micro-batch's part of the step's loss: Σ weight · nll / Σ weight of the whole step."""
        loss = self._layout.nll_sum(model, inputs) / inputs["step_weight"]
        self.step_loss = self.step_loss.to(loss.device) + loss.detach()
        return loss * self.args.world_size  # gradients are averaged over the processes, and the loss is a sum

    def take_step_loss(self) -> float:
        """The loss of the optimizer step just done, over all processes; starts the next one at zero."""
        loss = float(self.accelerator.reduce(self.step_loss))
        self.step_loss = torch.zeros_like(self.step_loss)
        return loss

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Σ weight · nll / Σ weight over the held-out rows, told to the callbacks like any evaluation."""
        self.average_weights()
        metrics = {f"{metric_key_prefix}_loss": self.held_out_loss()}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def average_weights(self) -> None:
        """Give the model the weights that a schedule-free optimizer means; its next step takes them back."""
        if callable(switch := getattr(self.optimizer, "eval", None)):
            switch()

    def held_out_loss(self) -> float:
        """The loss formula over all held-out rows as one step, its micro-batches shared among the processes."""
        rows, size = list(self._held_out_rows), self._plan.micro_batch_size
        self.model.eval()
        total = 0.0
        for turn in range(0, len(rows), size * self.args.world_size):
            start = turn + size * self.args.process_index
            examples = [self._encoded[row] for row in rows[start : start + size]]
            examples = examples or [without_loss(self._encoded[rows[0]])]
            batch = self._prepare_inputs(self._layout.collate(examples, 1.0))
            with torch.no_grad(), self.compute_loss_context_manager():
                total += float(self._layout.nll_sum(self.model, batch))
        if self.args.world_size > 1:
            here = torch.tensor(total, dtype=self._layout.weight_dtype, device=self.args.device)
            total = float(self.accelerator.reduce(here))
        return total / math.fsum(self._encoded.weight_sums[row] for row in rows)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        self.last_grad_norm = None if norm is None else float(norm)
        return norm


def require_finite(trained: Mapping[str, torch.Tensor]) -> None:
    """Refuse an adapter that is worthless.

    Raises:
        FloatingPointError: a trained weight is infinite or not a number.
    """
    for name, weight in trained.items():
        if not torch.isfinite(weight).all():
            raise FloatingPointError(f"{name} is not finite after the last step: training diverged; {REMEDY}")
