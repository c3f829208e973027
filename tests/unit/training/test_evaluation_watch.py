"""Early stopping and the best weights, evaluation by evaluation, also across a checkpoint."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import TrainerControl

from thinker.config.recipe_models import TrainingHyperparameters
from thinker.training.hf_peft.callbacks import EvaluationWatch

LAST = 100


def watch_of(weight: torch.nn.Parameter, **settings: Any) -> EvaluationWatch:
    return EvaluationWatch(torch.nn.ParameterDict({"weight": weight}), TrainingHyperparameters(**settings))


def evaluate(watch: EvaluationWatch, step: int, loss: float) -> bool:
    """Whether training is to stop."""
    control = TrainerControl()
    state = SimpleNamespace(global_step=step, max_steps=LAST)
    watch.on_evaluate(None, state, control, metrics={"eval_loss": loss})
    return control.should_training_stop


def stops_at(losses: list[float], **settings: Any) -> int | None:
    watch = watch_of(torch.nn.Parameter(torch.zeros(1)), **settings)
    return next((step for step, loss in enumerate(losses, start=1) if evaluate(watch, step, loss)), None)


@pytest.mark.parametrize(
    ("losses", "settings", "expected"),
    [
        ([3, 2, 2.5, 2.4, 1], {"early_stopping_patience": 2}, 4),
        ([3, 2, 2.5, 1.9, 2, 2], {"early_stopping_patience": 2}, 6),
        ([3, 2.95, 2.91, 2], {"early_stopping_patience": 2, "early_stopping_threshold": 0.1}, 3),
        ([3, math.nan, math.nan], {"early_stopping_patience": 2}, 3),
        ([3, 4, 5, 6], {}, None),
        ([3, 2, 1], {"early_stopping_patience": 1}, None),
    ],
)
def test_training_ends_after_so_many_evaluations_without_gain(
    losses: list[float], settings: dict[str, Any], expected: int | None
) -> None:
    assert stops_at(losses, **settings) == expected


def test_an_end_that_is_the_plans_own_is_not_early() -> None:
    watch = watch_of(torch.nn.Parameter(torch.zeros(1)), early_stopping_patience=1)
    evaluate(watch, 1, 1.0)
    assert not evaluate(watch, LAST, 2.0)
    assert not watch.stopped


def test_the_best_weights_come_back_at_the_end() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    watch = watch_of(weight, load_best_model_at_end=True)
    for step, loss in enumerate((3.0, 1.0, 2.0), start=1):
        weight.data.fill_(step)
        evaluate(watch, step, loss)
    assert watch.final_loss(SimpleNamespace(state=SimpleNamespace(global_step=3))) == 1.0  # type: ignore[arg-type]
    assert (watch.best_step, weight.tolist()) == (2, [2.0, 2.0])


def test_without_asking_for_the_best_the_last_weights_stay() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    watch = watch_of(weight)
    for step, loss in ((1, 1.0), (2, 2.0)):
        weight.data.fill_(step)
        evaluate(watch, step, loss)
    assert watch.final_loss(SimpleNamespace(state=SimpleNamespace(global_step=2))) == 2.0  # type: ignore[arg-type]
    assert weight.item() == 2
    assert watch.best_step == 1


def test_a_checkpoint_carries_patience_and_best_weights(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    settings = {"load_best_model_at_end": True, "early_stopping_patience": 2}
    before = watch_of(weight, **settings)
    for step, loss in ((1, 1.0), (2, 2.0)):
        weight.data.fill_(step)
        evaluate(before, step, loss)
    before.save(tmp_path)

    resumed = torch.nn.Parameter(torch.full((1,), 9.0))
    after = watch_of(resumed, **settings)
    after.load(tmp_path)
    assert evaluate(after, 3, 1.5)
    assert after.final_loss(SimpleNamespace(state=SimpleNamespace(global_step=3))) == 1.0  # type: ignore[arg-type]
    assert resumed.item() == 1
