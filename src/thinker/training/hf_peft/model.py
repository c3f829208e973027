"""The base model with a fresh adapter, as it is trained."""

from __future__ import annotations

import warnings
from typing import Any

from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

from thinker.config.recipe_models import LoraConfig as LoraRecipe
from thinker.config.recipe_models import Recipe
from thinker.errors import ConfigError
from thinker.training.hf_peft.targets import check_adapted, check_named

_TIED = {"lm_head", "embed_tokens"}


def with_adapter(model: Any, recipe: Recipe, base_model: str) -> Any:
    """`model`, frozen, with the recipe's adapter in float32 on it.

    Args:
        model: the base model, in the precision or quantization that the recipe asks for.
        recipe: adapter, quantization and gradient checkpointing.
        base_model: the name that the adapter's configuration gives it.

    Raises:
        ConfigError: the model lacks what a key of `lora` names, or PEFT refuses the adapter.
    """
    model.config.use_cache = False
    checkpointing = recipe.training.gradient_checkpointing
    if recipe.model.quantization in ("4bit", "8bit"):
        model = prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False} if checkpointing else None,
        )
    check_named(model, recipe.lora)
    try:
        with warnings.catch_warnings():
            # Of tied embeddings, which are trained here as `modules_to_save` says, and of conversions that come later.
            warnings.filterwarnings("ignore", module="peft")
            adapted = get_peft_model(model, peft_config(recipe, model))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"lora: {' '.join(str(error).split())}") from error
    check_adapted(adapted, recipe.lora)
    for parameter in adapted.parameters():  # biases too: an optimizer in half precision would round steps away
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    adapted.peft_config["default"].base_model_name_or_path = base_model
    return adapted


def peft_config(recipe: Recipe, model: Any) -> LoraConfig:
    """The recipe's adapter as PEFT describes it.

    Args:
        recipe: its section `lora`.
        model: the base model.
    """
    lora = recipe.lora
    tied = bool(getattr(model.config.get_text_config(), "tie_word_embeddings", False))
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        bias=lora.bias,
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
        init_lora_weights=_first_weights(lora, model),
        target_modules=_names(lora.target_modules),
        exclude_modules=_names(lora.exclude_modules),
        layers_to_transform=list(lora.layers_to_transform) if lora.layers_to_transform is not None else None,
        layers_pattern=_names(lora.layers_pattern),
        rank_pattern=dict(lora.rank_pattern),
        alpha_pattern=dict(lora.alpha_pattern),
        modules_to_save=list(lora.modules_to_save) or None,
        # One matrix as input and output stays one where both are trained.
        ensure_weight_tying=tied and {name.rpartition(".")[2] for name in lora.modules_to_save} >= _TIED,
        task_type="CAUSAL_LM",
        revision=recipe.model.revision,
    )


def _names(names: str | tuple[str, ...] | None) -> str | list[str] | None:
    return names if isinstance(names, str) else list(names) if names else None


def _first_weights(lora: LoraRecipe, model: Any) -> Any:
    """A model without contents has nothing to take them from."""
    return True if model.device.type == "meta" else lora.init_lora_weights
