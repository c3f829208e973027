"""The base model with a fresh adapter, as it is trained."""

from __future__ import annotations

from typing import Any

from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

from thinker.config.recipe_models import Recipe
from thinker.training.hf_peft.targets import check_targets


def with_adapter(model: Any, recipe: Recipe, base_model: str) -> Any:
    """`model`, frozen, with the recipe's adapter in float32 on it.

    Args:
        model: the base model, in the precision or quantization that the recipe asks for.
        recipe: adapter, quantization and gradient checkpointing.
        base_model: the name that the adapter's configuration gives it.

    Raises:
        ConfigError: the model lacks a layer that `lora.target_modules` names.
    """
    model.config.use_cache = False
    checkpointing = recipe.training.gradient_checkpointing
    if recipe.model.quantization in ("4bit", "8bit"):
        model = prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False} if checkpointing else None,
        )
    lora = recipe.lora
    targets = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    check_targets(model, targets)
    adapted = get_peft_model(
        model,
        LoraConfig(
            r=lora.r, lora_alpha=lora.lora_alpha, lora_dropout=lora.lora_dropout, bias=lora.bias,
            target_modules=targets, task_type="CAUSAL_LM", revision=recipe.model.revision,
        ),
    )  # fmt: skip
    for parameter in adapted.parameters():  # biases too: an optimizer in half precision would round steps away
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    adapted.peft_config["default"].base_model_name_or_path = base_model
    return adapted
