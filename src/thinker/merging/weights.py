"""The base model with the adapter's change added to its weights.

For each layer that the adapter changes, in this order: the weights W of the base model as it is loaded (a 4-bit layer
unpacked as its products unpack it, an 8-bit one as its integers times their scales) become float32; the change
BA · scale, computed in float32 from the float32 adapter, is added; the sum is rounded once, to the precision that is
written. PEFT's own merge of a quantized layer would quantize the sum anew (`peft.tuners.lora.bnb`), so quantized layers
are unpacked first.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from thinker.errors import EvaluationError
from thinker.evaluation.adapter import attach
from thinker.modeling.load import unpacked


def merged_model(base: Any, adapter: Path, dtype: torch.dtype) -> Any:
    """`base` with the adapter of `adapter` in its weights, all of them in `dtype`; `base` is used up.

    Args:
        base: the model as it is evaluated.
        adapter: the adapter's folder.
        dtype: of the result.

    Raises:
        EvaluationError: the adapter does not fit, or a merged weight is not finite.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="peft")  # of tied embeddings, which come apart here where they must
        adapted = attach(unpacked(base), adapter)
        for name, layer in adapted.named_modules():
            if isinstance(layer, BaseTunerLayer):
                _merge(name, layer, dtype)
        model = adapted.merge_and_unload()
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    return model.eval()


def _merge(name: str, layer: Any, dtype: torch.dtype) -> None:
    base = layer.get_base_layer()
    for part in ("weight", "bias"):
        value = getattr(base, part, None)
        if isinstance(value, torch.nn.Parameter):
            # A parameter of its own: an embedding that also is the head would otherwise change in both places.
            setattr(base, part, torch.nn.Parameter(value.detach().float(), requires_grad=False))
    try:
        layer.merge(safe_merge=True)
    except ValueError as error:
        raise EvaluationError(f"{name} cannot be merged: {error}; train again") from error
    for parameter in base.parameters(recurse=False):
        parameter.data = parameter.data.to(dtype)
