"""The recipe as `transformers.TrainingArguments`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainingArguments, get_scheduler

from thinker.config.optimizers import optimizer_on
from thinker.config.recipe_models import Recipe
from thinker.data.plan import Plan
from thinker.errors import ConfigError
from thinker.modeling.devices import Precision


def training_arguments(
    recipe: Recipe, plan: Plan, *, output_dir: Path, device: torch.device, precision: Precision, evaluates: bool
) -> TrainingArguments:
    """What the Trainer is told. Batches, order and loss follow the plan, whatever these say.

    Raises:
        ConfigError: Transformers refuses a setting.
    """
    training, output = recipe.training, recipe.output
    _check_schedule(recipe, plan)
    _check_saved_modules(recipe, precision)
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
            warmup_steps=warmup_steps(recipe, plan),
            optim=optimizer_on(device.type, training.optim)[0],
            optim_args=",".join(f"{key}={value}" for key, value in training.optim_args.items()) or None,
            adam_beta1=training.adam_beta1,
            adam_beta2=training.adam_beta2,
            adam_epsilon=training.adam_epsilon,
            weight_decay=training.weight_decay,
            max_grad_norm=training.max_grad_norm,
            lr_scheduler_type=training.lr_scheduler_type,
            lr_scheduler_kwargs=dict(training.lr_scheduler_kwargs),
            bf16=precision.compute == "bfloat16",
            fp16=precision.compute == "float16",
            use_cpu=device.type == "cpu",
            seed=recipe.data.seed,
            logging_steps=output.logging_steps,
            logging_nan_inf_filter=False,
            eval_strategy=output.eval_strategy if evaluates else "no",
            eval_steps=output.eval_steps if evaluates else None,
            save_strategy=output.save_strategy,
            save_steps=output.save_steps,
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


def warmup_steps(recipe: Recipe, plan: Plan) -> int:
    """Optimizer steps of the warm-up; a fraction of all is rounded up, as in Transformers."""
    ratio = recipe.training.warmup_ratio
    return math.ceil(len(plan) * ratio) if ratio else recipe.training.warmup_steps


def _check_schedule(recipe: Recipe, plan: Plan) -> None:
    """Make the schedule once for nothing: Transformers makes it after the model is loaded."""
    training = recipe.training
    idle = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=training.learning_rate)
    try:
        get_scheduler(
            training.lr_scheduler_type, idle, warmup_steps(recipe, plan), len(plan), dict(training.lr_scheduler_kwargs)
        )
    except (TypeError, ValueError, AssertionError) as error:
        said = " ".join(str(error).split())
        raise ConfigError(
            f"training.lr_scheduler_kwargs: the schedule '{training.lr_scheduler_type}' cannot be made: {said}"
        ) from error


def _check_saved_modules(recipe: Recipe, precision: Precision) -> None:
    """Modules trained whole are in float32, and their neighbours take it only where autocast converts."""
    half = precision.storage != "float32" and recipe.model.quantization not in ("4bit", "8bit")
    if recipe.lora.modules_to_save and half and precision.compute == "float32":
        raise ConfigError(
            f"lora.modules_to_save: trained in float32, they do not fit a base model in {precision.storage} that is "
            "computed with in float32; set model.dtype to auto, or training.bf16 to true"
        )


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
