"""The model that training would train, with shapes and types but without a single weight.

It is made by the same code from the model's `config.json`, on torch's `meta` device: layers, adapter and casts are
those of the real one, whatever the architecture. Quantized layers are stood in for by layers that hold, save and
allocate what those of bitsandbytes do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from thinker.config.recipe_models import Recipe
from thinker.modeling.devices import Precision
from thinker.modeling.load import ModelSource, load_model_config
from thinker.training.hf_peft.model import with_adapter
from thinker.training.workload import Dimensions

# Dettmers et al. 2023 (QLoRA), section 3: blocks of 64 weights share a constant of 8 bits; blocks of 256 constants
# share one of 32 bits.
_BLOCK, _BLOCK_OF_BLOCKS = 64, 256


@dataclass(frozen=True)
class Skeleton:
    """A PEFT model on the `meta` device, and its size."""

    model: Any
    dimensions: Dimensions


def make_skeleton(recipe: Recipe, source: ModelSource, precision: Precision) -> Skeleton:
    """The skeleton of what the recipe trains on `source`.

    Raises:
        PreconditionError: there is no such model.
        ConfigError: it lacks a layer that the recipe names.
    """
    from transformers import AutoModelForCausalLM

    config = load_model_config(source)
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, precision.storage))
        base_parameters = sum(parameter.numel() for parameter in base.parameters())
        if recipe.model.quantization in ("4bit", "8bit"):
            _stand_in(base, four_bit=recipe.model.quantization == "4bit", compute=getattr(torch, precision.storage))
        model = with_adapter(base, recipe, source.name)
    return Skeleton(model, dimensions_of(model, base_parameters))


def dimensions_of(model: Any, base_parameters: int = 0) -> Dimensions:
    """The size of a PEFT model, with or without contents.

    Args:
        model: the base model, quantized or not, with an adapter.
        base_parameters: of the base model, before it was quantized; work does not follow from it.
    """
    base = model.get_base_model()
    text = base.config.get_text_config()
    head = base.get_output_embeddings()
    heads = getattr(text, "num_attention_heads", None) or 1  # a state-space model has none
    return Dimensions(
        vocabulary=text.vocab_size,
        layers=text.num_hidden_layers,
        attention_width=heads * (getattr(text, "head_dim", None) or text.hidden_size // heads),
        linear_parameters=sum(inputs * outputs for inputs, outputs in map(_features, _matrices(base))),
        head_parameters=head.weight.numel() if head is not None else 0,
        base_parameters=base_parameters,
        base_bytes=sum(_bytes(tensor) for tensor in _tensors(model) if not tensor.requires_grad),
        trained_parameters=sum(tensor.numel() for tensor in _tensors(model) if tensor.requires_grad),
    )


def _matrices(base: Any) -> Iterator[torch.nn.Module]:
    """The base model's own linear layers but the head, whatever PEFT has wrapped around them."""
    head = base.get_output_embeddings()
    of_head = {id(module) for module in head.modules()} if head is not None else set()
    for name, module in base.named_modules():
        added = ".lora_" in name or ".modules_to_save." in f".{name}."
        if isinstance(module, torch.nn.Linear | Conv1D) and not added and id(module) not in of_head:
            yield module


def _features(layer: Any) -> tuple[int, int]:
    """Inputs and outputs, which a quantized layer's weights do not show."""
    return tuple(layer.weight.shape) if isinstance(layer, Conv1D) else (layer.in_features, layer.out_features)


def _bytes(tensor: torch.Tensor) -> int:
    size: int = tensor.numel() * tensor.element_size()
    return size


def _tensors(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    """Parameters and buffers, shared ones once."""
    yield from model.parameters()
    yield from model.buffers()


def _linear_layers(model: Any) -> list[tuple[str, torch.nn.Module]]:
    """The layers that bitsandbytes quantizes: all linear ones but the head."""
    head = model.get_output_embeddings()
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head
    ]


def _stand_in(model: Any, *, four_bit: bool, compute: torch.dtype) -> None:
    for name, layer in _linear_layers(model):
        stand_in = _Quantized(*_features(layer), bias=layer.bias is not None, four_bit=four_bit, compute=compute)
        model.set_submodule(name, stand_in.requires_grad_(False))


class _Quantized(torch.nn.Linear):
    """Holds and allocates what `bitsandbytes.nn.Linear4bit` (nf4, double quantization) or `Linear8bitLt` does."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool, four_bit: bool, compute: torch.dtype) -> None:
        super().__init__(inputs, outputs, bias=bias)
        self._four_bit, self._compute = four_bit, compute
        count = inputs * outputs
        packed = torch.empty(count // 2 if four_bit else count, dtype=torch.uint8 if four_bit else torch.int8)
        self.weight = torch.nn.Parameter(packed, requires_grad=False)
        constants = -(-count // _BLOCK) if four_bit else 4 * outputs
        if four_bit:
            constants += 4 * -(-constants // _BLOCK_OF_BLOCKS)
        self.register_buffer("constants", torch.empty(constants, dtype=torch.uint8))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor
        if self._four_bit:  # computes in its own type, and gives back the type that it was given
            found = _FrozenMatmul.apply(input.to(self._compute), self.out_features, self.bias, False)
            return found.to(input.dtype)
        found = _FrozenMatmul.apply(input, self.out_features, self.bias, True)
        return found


class _FrozenMatmul(torch.autograd.Function):
    """A product with weights that are unpacked for the forward pass, and unpacked anew for the backward pass.

    The 8-bit one keeps its input, though nothing needs it (`ctx.A` in `bitsandbytes.autograd._functions`).
    """

    @staticmethod
    def forward(
        ctx: Any, input: torch.Tensor, outputs: int, bias: torch.Tensor | None, keeps_input: bool
    ) -> torch.Tensor:
        ctx.shape = (outputs, input.shape[-1])
        ctx.kept = input if keeps_input else None
        weight = input.new_empty(ctx.shape)
        return functional.linear(input, weight, None if bias is None else bias.to(input.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = gradients
        return gradient @ gradient.new_empty(ctx.shape), None, None, None
