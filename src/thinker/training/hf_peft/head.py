"""Negative log-probabilities straight from the last hidden states, without ever holding all logits.

A vocabulary is many times as wide as a model, and logits in float32 with their gradient are the largest tensors of a
training step. Here they are made for a few positions at a time, and turned at once into the loss and into its gradient
at the hidden states, which is all that the backward pass needs of a frozen head.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

# Logits of so many bytes are at hand at a time: on CPU few enough to stay in its cache, on a GPU enough to fill it.
_CPU_CHUNK_BYTES, _GPU_CHUNK_BYTES = 16 << 20, 256 << 20


class HeadNll(torch.autograd.Function):
    """Σ w · −log softmax(W h)[target], with W frozen."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        """As the class says.

        Args:
            ctx: autograd's.
            hidden: [P, H], h.
            weight: [V, H], W.
            targets: int64[P].
            weights: float[P], w; the sum has their type.
        """
        kind = hidden.device.type
        precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
        total = weights.new_zeros(())
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        size = max(1, (_CPU_CHUNK_BYTES if kind == "cpu" else _GPU_CHUNK_BYTES) // (4 * weight.shape[0]))
        with torch.autocast(kind, enabled=False):
            matrix = weight.to(precision)
            for start in range(0, len(hidden), size):
                chunk = slice(start, start + size)
                # In place as far as it goes: logits, log-probabilities, probabilities, gradient.
                scores = (hidden[chunk].to(precision) @ matrix.t()).float()
                scores = torch.log_softmax(scores, dim=-1)
                at_target = targets[chunk].unsqueeze(-1)
                total -= (scores.gather(-1, at_target).squeeze(-1).to(weights.dtype) * weights[chunk]).sum()
                if gradient is not None:
                    scores.exp_()
                    scores.scatter_add_(-1, at_target, scores.new_full((), -1.0).expand(at_target.shape))
                    scores.mul_(weights[chunk].to(scores.dtype).unsqueeze(-1))
                    gradient[chunk] = (scores.to(precision) @ matrix).to(hidden.dtype)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        # A scalar tensor does not widen the other: a loss scale beyond float16's range is no infinity here.
        return gradient * gradients[0], None, None, None


class LossHead:
    """Stands in for the forward of a model's frozen head while a loss is expected of it.

    It is called where the head is, inside the model's forward, so that whatever wraps the model (gradient
    checkpointing, several processes) sees an ordinary call.

    Args:
        head: the layer that makes logits, without bias.
    """

    def __init__(self, head: torch.nn.Linear) -> None:
        self._head, self._logits = head, head.forward
        self._expected: tuple[torch.Tensor, torch.Tensor] | None = None

    def install(self) -> None:
        """Take the head's place."""
        self._head.forward = self._forward

    def remove(self) -> None:
        """Give the head its place back."""
        self._head.__dict__.pop("forward", None)

    @contextlib.contextmanager
    def expecting(self, targets: torch.Tensor, weights: torch.Tensor) -> Iterator[None]:
        """Inside, the head gives Σ weight · nll of `targets` (int64[P], `weights`: float[P]) instead of logits."""
        self._expected = (targets, weights)
        try:
            yield
        finally:
            self._expected = None

    def _forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states [1, P, H] to the loss, a scalar; or to logits, where no loss is expected."""
        if self._expected is None:
            return self._logits(hidden)
        total: torch.Tensor = HeadNll.apply(hidden.flatten(0, -2), self._head.weight, *self._expected)
        return total
