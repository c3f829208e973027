"""What watches training: early stopping and the weights of the best evaluation, which go with each checkpoint."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file
from transformers import Trainer, TrainerCallback

from thinker.config.recipe_models import TrainingHyperparameters

log = logging.getLogger("thinker")

_STATE: Final = "evaluations.json"
_WEIGHTS: Final = "best.safetensors"
_REMEMBERED: Final = ("best_loss", "best_step", "last_loss", "last_step", "stopped", "_waited")


class EvaluationWatch(TrainerCallback):
    """Ends training that gains no more, and keeps the trained weights of the lowest evaluation loss.

    What it knows goes into each checkpoint, so that a resumed training ends where the uninterrupted one would.

    Args:
        model: the PEFT model.
        training: patience, threshold, and whether the best weights are wanted.

    Attributes:
        best_loss: lowest evaluation loss; None before the first one.
        best_step: optimizer step of it.
        last_loss: of the last evaluation; None before the first one.
        last_step: optimizer step of it.
        stopped: whether training was ended early.
        keeps: whether the best weights are kept, to be saved at the end.
    """

    def __init__(self, model: torch.nn.Module, training: TrainingHyperparameters) -> None:
        self.best_loss: float | None = None
        self.best_step: int | None = None
        self.last_loss: float | None = None
        self.last_step: int | None = None
        self.stopped = False
        self._trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self._patience, self._threshold = training.early_stopping_patience, training.early_stopping_threshold
        self.keeps = training.load_best_model_at_end
        self._weights: dict[str, torch.Tensor] = {}
        self._waited = 0

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Compare with the best loss so far; as `EarlyStoppingCallback` of Transformers, and a NaN is never better."""
        loss = kwargs["metrics"]["eval_loss"]
        self.last_loss, self.last_step = loss, state.global_step
        self._waited = 0 if self._is_better(loss, by=self._threshold) else self._waited + 1
        if self._is_better(loss, by=0.0):
            self.best_loss, self.best_step = loss, state.global_step
            if self.keeps:
                self._weights = {name: weight.detach().to("cpu", copy=True) for name, weight in self._trained.items()}
        if self._patience is not None and self._waited >= self._patience and state.global_step < state.max_steps:
            self.stopped = True
            control.should_training_stop = True
            log.info(
                "step %d/%d: training ends early: %d evaluations in a row without a better loss than %s of step %s",
                state.global_step, state.max_steps, self._waited, self.best_loss, self.best_step,
            )  # fmt: skip

    def _is_better(self, loss: float, by: float) -> bool:
        return math.isfinite(loss) and (self.best_loss is None or loss < self.best_loss - by)

    def final_loss(self, trainer: Trainer) -> float:
        """The evaluation loss of the weights that are to be saved, which the model has from here on.

        Args:
            trainer: that is done; it evaluates once more if its last step was not.
        """
        if self.last_step != trainer.state.global_step:
            trainer.evaluate()
        if self.keeps and self._weights:
            with torch.no_grad():
                for name, weight in self._weights.items():
                    self._trained[name].copy_(weight)
            log.info("the adapter is that of step %s, of the lowest evaluation loss", self.best_step)
            self.last_loss = self.best_loss
        return math.nan if self.last_loss is None else self.last_loss

    def save(self, folder: Path) -> None:
        """Leave in a checkpoint's folder what `load` needs."""
        state = {name: getattr(self, name) for name in _REMEMBERED}
        (folder / _STATE).write_text(json.dumps(state), encoding="utf-8")
        if self._weights:
            save_file(self._weights, folder / _WEIGHTS)

    def load(self, folder: Path) -> None:
        """Go on from what `save` left.

        Raises:
            OSError, ValueError, KeyError: it is not there, or damaged.
        """
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        for name in _REMEMBERED:
            setattr(self, name, state[name])
        self._weights = load_file(folder / _WEIGHTS) if (folder / _WEIGHTS).is_file() else {}
