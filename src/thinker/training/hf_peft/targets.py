"""Whether the layers that `lora.target_modules` names are there."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from transformers.pytorch_utils import Conv1D

from thinker.errors import ConfigError


def check_targets(model: torch.nn.Module, targets: str | Sequence[str]) -> None:
    """Refuse a name that no layer answers to: as long as another one does, PEFT would leave it out without a word.

    Args:
        model: the base model.
        targets: ends of layer names; or text: a regular expression for whole names, or `all-linear`.

    Raises:
        ConfigError: names what is absent, and the layers that there are.
    """
    layers = [name for name, _ in model.named_modules() if name]
    if isinstance(targets, str):
        if targets == "all-linear" or any(re.fullmatch(targets, layer) for layer in layers):
            return
        problem = f"no layer's whole name matches the expression '{targets}'; a list ['{targets}'] names layers by ends"
    else:
        absent = [name for name in targets if not any(f".{layer}".endswith(f".{name}") for layer in layers)]
        if not absent:
            return
        problem = f"the model has no layer {', '.join(absent)}"
    linear = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
    }
    raise ConfigError(f"lora.target_modules: {problem} (its linear layers: {', '.join(sorted(linear))})")
