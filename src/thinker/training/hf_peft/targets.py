"""Whether all that the section `lora` names is there: PEFT leaves out without a word what it does not find."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from thinker.config.recipe_models import LoraConfig
from thinker.errors import ConfigError

# As PEFT finds a block's number in a layer's name (`check_target_module_exists` in peft/tuners/tuners_utils.py).
_ANY_BLOCK = r".*?\.[^.]*\.(\d+)\."


def check_named(model: torch.nn.Module, lora: LoraConfig) -> None:
    """Refuse names of layers and modules that the base model does not have.

    Raises:
        ConfigError: names what is absent, and what there is.
    """
    _check_layers(model, "target_modules", lora.target_modules)
    if lora.exclude_modules:
        _check_layers(model, "exclude_modules", lora.exclude_modules)
    modules = dict(model.named_modules())
    for pattern in _block_patterns(lora) if lora.layers_pattern else ():
        if not _blocks(modules, [pattern]):
            raise ConfigError(f"lora.layers_pattern: no list of blocks in the model matches {lora.layers_pattern}")
    for name in lora.modules_to_save:
        found = [module for path, module in modules.items() if _ends_with(path, name)]
        if not found:
            raise ConfigError(f"lora.modules_to_save: the model has no module {name} ({_top_modules(modules)})")
        weights = [weight for module in found for weight in module.parameters()]
        if not all(weight.is_floating_point() for weight in weights):
            raise ConfigError(f"lora.modules_to_save: {name} is quantized, and cannot be trained whole")


def check_adapted(adapted: Any, lora: LoraConfig) -> None:
    """Refuse keys that no adapted layer answers to, and ranks that a layer is too small for.

    Args:
        adapted: the PEFT model.
        lora: what it was made of.

    Raises:
        ConfigError: names the key and what it fails on.
    """
    layers: list[str] = adapted.base_model.targeted_module_names
    names = () if isinstance(lora.target_modules, str) else lora.target_modules
    if idle := [name for name in names if not any(_ends_with(layer, name) for layer in layers)]:
        raise ConfigError(f"lora.target_modules: no {', '.join(idle)} is left to adapt; other keys take them out")
    _check_blocks(adapted, layers, lora)
    for key in ("rank_pattern", "alpha_pattern"):
        for pattern in getattr(lora, key):
            if not any(re.match(rf"(.*\.)?({pattern})$", layer) for layer in layers):
                raise ConfigError(f"lora.{key}: no adapted layer is called '{pattern}' (one is {layers[0]})")
    for name, module in adapted.named_modules():
        if isinstance(getattr(module, "lora_A", None), torch.nn.ModuleDict) and "default" in module.lora_A:
            rank, found = module.r["default"], module.lora_A["default"].weight.shape[0]
            if found != rank:
                message = f"lora.init_lora_weights: {name} has only {found} directions for a rank of {rank}"
                raise ConfigError(f"{message}; lower lora.r, or set it in lora.rank_pattern")


def _check_layers(model: torch.nn.Module, key: str, names: str | Sequence[str]) -> None:
    layers = [name for name, _ in model.named_modules() if name]
    if isinstance(names, str):
        if names == "all-linear" or any(re.fullmatch(names, layer) for layer in layers):
            return
        problem = f"no layer's whole name matches the expression '{names}'; a list ['{names}'] names layers by ends"
    else:
        absent = [name for name in names if not any(_ends_with(layer, name) for layer in layers)]
        if not absent:
            return
        problem = f"the model has no layer {', '.join(absent)}"
    linear = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
    }
    raise ConfigError(f"lora.{key}: {problem} (its linear layers: {', '.join(sorted(linear))})")


def _check_blocks(adapted: Any, layers: list[str], lora: LoraConfig) -> None:
    if lora.layers_to_transform is None:
        return
    patterns = _block_patterns(lora)
    missing = sorted(set(lora.layers_to_transform) - _blocks(layers, patterns))
    if missing:
        there = _blocks((name for name, _ in adapted.base_model.model.named_modules()), patterns)
        known = f"the model's blocks are {min(there)} to {max(there)}" if there else "the model has no blocks"
        raise ConfigError(f"lora.layers_to_transform: no layer to adapt in block {missing[0]}; {known}")


def _block_patterns(lora: LoraConfig) -> list[str]:
    named = (lora.layers_pattern,) if isinstance(lora.layers_pattern, str) else lora.layers_pattern
    return [rf"(?:^|.*?\.){name}\.(\d+)\." for name in named] if named else [_ANY_BLOCK]


def _blocks(names: Iterable[str], patterns: Sequence[str]) -> set[int]:
    matches = (re.match(pattern, name) for name in names for pattern in patterns)
    return {int(match[1]) for match in matches if match}


def _ends_with(path: str, name: str) -> bool:
    return f".{path}".endswith(f".{name}")


def _top_modules(modules: dict[str, torch.nn.Module]) -> str:
    shown = [
        path for path, module in modules.items() if path and path.count(".") <= 1 and len(list(module.parameters()))
    ]
    return f"among its modules: {', '.join(shown)}"
