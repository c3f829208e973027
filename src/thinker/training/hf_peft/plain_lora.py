"""An adapter whose first weights were taken out of the base model, saved as one for the base model as it was.

PiSSA and OLoRA begin with a part of each weight matrix W as the adapter, s·B₀A₀, and leave W − s·B₀A₀ in the base
model. After training, the model's weights are W − s·B₀A₀ + s·BA, which is W with a LoRA of twice the rank:
W + s·[B  −B₀]·[A; A₀] (Meng et al. 2024, "PiSSA", appendix C). PEFT can write this too
(`path_initial_model_for_weight_conversion`), but leaves modules, biases and magnitudes out that were trained beside.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from thinker.config.recipe_models import CHANGE_THE_BASE
from thinker.training.hf_peft.artifacts import ADAPTER_CONFIG, ADAPTER_WEIGHTS

# The two halves' dimension, by part of a tensor's name.
_RANK_DIMENSION = {".lora_A.": 0, ".lora_B.": 1, ".lora_embedding_A": 0, ".lora_embedding_B": 1}
First = Mapping[str, torch.Tensor]


def taken_from_base(adapted: Any) -> First | None:
    """A₀ and B₀ of a PEFT model that was not trained yet, by the names that files give them.

    None where the adapter's first weights leave the base model as it is.
    """
    first = adapted.peft_config["default"].init_lora_weights
    if not isinstance(first, str) or not first.startswith(CHANGE_THE_BASE):
        return None
    tensors = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items() if ".lora_" in name}


def save_as_plain_lora(folder: Path, first: First) -> None:
    """Rewrite the adapter in `folder` as one for the base model from which `first` was never taken."""
    weights = load_file(folder / ADAPTER_WEIGHTS)
    whole = {name: _both_halves(name, tensor, first) for name, tensor in weights.items()}
    save_file(whole, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    path = folder / ADAPTER_CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    # So that alpha / rank, or alpha / √rank, stays what it is.
    factor = math.sqrt(2) if config["use_rslora"] else 2
    config |= {
        "init_lora_weights": True,
        "r": 2 * config["r"],
        "lora_alpha": factor * config["lora_alpha"],
        "rank_pattern": {key: 2 * rank for key, rank in (config["rank_pattern"] or {}).items()},
        "alpha_pattern": {key: factor * alpha for key, alpha in (config["alpha_pattern"] or {}).items()},
    }
    path.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")


def _both_halves(name: str, tensor: torch.Tensor, first: First) -> torch.Tensor:
    dimension = next((at for part, at in _RANK_DIMENSION.items() if part in name), None)
    if dimension is None:
        return tensor
    # An embedding's first weights are not taken from it: its second half is there for the rank alone.
    start = torch.zeros_like(tensor) if "embedding" in name else first[name].to(tensor.dtype)
    return torch.cat([tensor, -start if dimension else start], dim=dimension).contiguous()
