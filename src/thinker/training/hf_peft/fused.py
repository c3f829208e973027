"""Parts of a model computed in fewer passes over memory than module by module, with gradients written by hand.

Frozen base weights have no gradient, an adapter's matrices are thin, and most of what autograd would keep for the
backward pass can be had again from what is kept anyway. Each function says what it computes; `install` puts them in
the place of the modules that compute just that, and nothing else of the model is touched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch.nn import functional


@contextlib.contextmanager
def _without_autocast(tensor: torch.Tensor) -> Iterator[torch.dtype]:
    """The type that matrix products of `tensor` are to be computed in; inside, types are as they are written."""
    kind = tensor.device.type
    wanted = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else tensor.dtype
    with torch.autocast(kind, enabled=False):
        yield wanted


class LoraProduct(torch.autograd.Function):
    """x Wᵀ + b + s · (x̃ Aᵀ) Bᵀ, with W and b frozen and x̃ = dropout(x) (Hu et al. 2021, "LoRA", section 4.1)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        dropped: torch.Tensor | None,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        """As the class says.

        Args:
            ctx: autograd's.
            x: [..., inputs].
            dropped: x̃, like x; None is x.
            weight: [outputs, inputs].
            bias: [outputs], or None.
            a: [r, inputs], trained.
            b: [outputs, r], trained.
            scaling: s.
        """
        with _without_autocast(x) as precision:
            rows = x.reshape(-1, x.shape[-1]).to(precision)
            thin_rows = rows if dropped is None else dropped.reshape(rows.shape).to(precision)
            weight, a_cast, b_cast = weight.to(precision), a.to(precision), b.to(precision)
            output = functional.linear(rows, weight, None if bias is None else bias.to(precision))
            thin = thin_rows @ a_cast.t()
            output.addmm_(thin, b_cast.t(), alpha=scaling)
        ctx.save_for_backward(thin_rows, thin, weight, a_cast, b_cast)
        ctx.scaling, ctx.has_dropout = scaling, dropped is not None
        ctx.types = (x.dtype, a.dtype, b.dtype)
        return output.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        thin_rows, thin, weight, a, b = ctx.saved_tensors
        x_type, a_type, b_type = ctx.types
        shape = (*gradients[0].shape[:-1], weight.shape[1])
        gradient = gradients[0].reshape(-1, weight.shape[0])
        d_thin = (gradient @ b).mul_(ctx.scaling)
        d_b = (gradient.t() @ thin).to(b_type).mul_(ctx.scaling)
        d_a = (d_thin.t() @ thin_rows).to(a_type)
        d_x = d_dropped = None
        if ctx.needs_input_grad[0]:
            d_x = gradient @ weight
            if not ctx.has_dropout:
                d_x.addmm_(d_thin, a)
            d_x = d_x.view(shape).to(x_type)
        if ctx.has_dropout and ctx.needs_input_grad[1]:
            d_dropped = (d_thin @ a).view(shape).to(x_type)
        return d_x, d_dropped, None, None, d_a, d_b, None


class RmsNorm(torch.autograd.Function):
    """w · x / sqrt(mean(x²) + ε), with w frozen (Zhang and Sennrich 2019, "Root Mean Square Layer Normalization")."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
            inverse = torch.rsqrt(norm.square_() / x.shape[-1] + epsilon)
            output = x.to(torch.float32, copy=True).mul_(inverse).to(x.dtype) * weight
        ctx.save_for_backward(x, inverse, weight)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, inverse, weight = ctx.saved_tensors
        normed = x.to(torch.float32, copy=True).mul_(inverse)
        gradient = (gradients[0] * weight).to(torch.float32)
        along = torch.linalg.vecdot(gradient, normed).unsqueeze(-1) / x.shape[-1]
        gradient = gradient.sub_(normed.mul_(along)).mul_(inverse)
        return gradient.to(x.dtype), None, None


class SiluProduct(torch.autograd.Function):
    """silu(g) · u, the gate of Shazeer 2020, "GLU Variants Improve Transformer"; keeps g and u alone."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gate, up = ctx.saved_tensors
        d_gate = torch.ops.aten.silu_backward(gradients[0] * up, gate)
        return d_gate, functional.silu(gate).mul_(gradients[0])


def install(model: torch.nn.Module) -> dict[str, int]:
    """Replace the forward of every module that a function here stands for. Returns how many of each kind.

    A module is taken for what it is by its parts, whatever its class is called. That the whole model still computes the
    same is for the caller to see (`engine`).
    """
    found = {"lora": 0, "norm": 0, "gate": 0}
    for module in model.modules():
        for kind, make in (("lora", _lora_forward), ("norm", _norm_forward), ("gate", _gate_forward)):
            if forward := make(module):
                module.forward = forward
                found[kind] += 1
    return found


def remove(model: torch.nn.Module) -> None:
    """Undo `install`."""
    for module in model.modules():
        if getattr(module.__dict__.get("forward"), "is_fused", False):
            del module.forward


Forward = Callable[[torch.Tensor], torch.Tensor]


def _fused(function: Forward) -> Forward:
    function.is_fused = True  # type: ignore[attr-defined]
    return function


def _lora_forward(module: Any) -> Forward | None:
    if type(module) is not LoraLinear or type(module.base_layer) is not torch.nn.Linear:
        return None
    adapters = [name for name in module.active_adapters if name in module.lora_A]
    base, frozen = module.base_layer, not any(weight.requires_grad for weight in module.base_layer.parameters())
    if len(adapters) != 1 or not frozen or module.merged or module.disable_adapters:
        return None
    (name,) = adapters
    a, b = module.lora_A[name], module.lora_B[name]
    if name in module.lora_variant or a.bias is not None or b.bias is not None:
        return None
    dropout = module.lora_dropout[name]

    @_fused
    def forward(x: torch.Tensor) -> torch.Tensor:
        drops = isinstance(dropout, torch.nn.Dropout) and dropout.training
        dropped = dropout(x) if drops else None
        output: torch.Tensor = LoraProduct.apply(
            x, dropped, base.weight, base.bias, a.weight, b.weight, module.scaling[name]
        )
        return output

    return forward


def _norm_forward(module: Any) -> Forward | None:
    parts = dict(module.named_parameters())
    weight, epsilon = parts.get("weight"), getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if len(parts) != 1 or weight is None or weight.dim() != 1 or weight.requires_grad or not isinstance(epsilon, float):
        return None
    if "rms" not in type(module).__name__.lower():
        return None

    @_fused
    def forward(hidden_states: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = RmsNorm.apply(hidden_states, module.weight, epsilon)
        return output

    return forward


def _gate_forward(module: Any) -> Forward | None:
    names = {name for name, _ in module.named_children()}
    if names != {"gate_proj", "up_proj", "down_proj", "act_fn"}:
        return None
    if not isinstance(module.act_fn, torch.nn.SiLU) and type(module.act_fn).__name__ != "SiLUActivation":
        return None

    @_fused
    def forward(x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = module.down_proj(SiluProduct.apply(module.gate_proj(x), module.up_proj(x)))
        return output

    return forward
