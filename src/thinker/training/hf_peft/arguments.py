"""The recipe as `transformers.TrainingArguments`."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames

from thinker.config.recipe_models import Recipe
from thinker.data.plan import Plan
from thinker.errors import ConfigError
from thinker.modeling.devices import Precision


def training_arguments(
    recipe: Recipe, plan: Plan, *, output_dir: Path, device: torch.device, precision: Precision, evaluates: bool
) -> TrainingArguments:
    """What the Trainer is told. Batches, order and loss follow the plan, whatever these say.

    Raises:
        ConfigError: an optimizer or schedule that does not exist.
    """
    training, output = recipe.training, recipe.output
    _check_choice("training.optim", training.optim, [name.value for name in OptimizerNames])
    _check_choice("training.lr_scheduler_type", training.lr_scheduler_type, [name.value for name in SchedulerType])
    on_gpu = device.type == "cuda"
    checkpointing: dict[str, Any] = {}
    if training.gradient_checkpointing:
        checkpointing = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
    try:
        arguments = TrainingArguments(
            output_dir=str(output_dir),
            per_device_train_batch_size=training.per_device_batch_size,
            per_device_eval_batch_size=training.per_device_batch_size,
            gradient_accumulation_steps=training.gradient_accumulation_steps,
            learning_rate=training.learning_rate,
            num_train_epochs=math.ceil(training.num_epochs),
            max_steps=len(plan),
            warmup_steps=training.warmup_steps,
            optim=training.optim,
            weight_decay=training.weight_decay,
            max_grad_norm=training.max_grad_norm,
            lr_scheduler_type=training.lr_scheduler_type,
            bf16=precision.compute == "bfloat16",
            fp16=precision.compute == "float16",
            use_cpu=device.type == "cpu",
            seed=recipe.data.seed,
            logging_steps=output.logging_steps,
            logging_nan_inf_filter=False,
            eval_strategy="steps" if evaluates else "no",
            eval_steps=output.eval_steps if evaluates else None,
            save_strategy="steps",
            save_steps=output.save_steps,
            save_total_limit=output.save_total_limit,
            report_to=[],  # `tracker_callbacks` has them
            remove_unused_columns=False,
            dataloader_pin_memory=on_gpu,
            disable_tqdm=True,
            **checkpointing,
        )
    except (ValueError, ImportError, RuntimeError) as error:
        raise ConfigError(f"the recipe does not fit Transformers: {error}") from error
    if on_gpu:
        arguments._n_gpu = 1  # one process drives one GPU; several go through torchrun
    return arguments


def _check_choice(key: str, value: str, choices: list[str]) -> None:
    if value in choices:
        return
    near = difflib.get_close_matches(value, choices, n=1)
    hint = f", did you mean '{near[0]}'?" if near else f" (Transformers knows: {', '.join(choices)})"
    raise ConfigError(f"{key}: unknown name '{value}'{hint}")


def tracker_callbacks(report_to: str | Sequence[str]) -> list[TrainerCallback]:
    """What reports to the trackers of `output.report_to`; made before anything expensive.

    Raises:
        ConfigError: there is no such tracker, or its package is not installed.
    """
    from transformers.integrations import get_reporting_integration_callbacks

    trackers = [report_to] if isinstance(report_to, str) else list(report_to)
    if trackers in (["none"], []):
        return []
    try:
        return [callback() for callback in get_reporting_integration_callbacks(trackers)]
    except (ValueError, ImportError, RuntimeError) as error:
        raise ConfigError(f"output.report_to: {error}") from error
