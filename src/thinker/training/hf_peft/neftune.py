"""NEFTune: noise on the embeddings while training (Jain et al. 2023, "NEFTune", algorithm 1).

The Trainer's own takes the length of the padded micro-batch for the length of a row. Here each row's noise is that of
its own length, whatever it is padded to or packed with.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch


def add_noise(model: Any, alpha: float) -> Callable[[], None]:
    """Let `model` see noisy embeddings while it trains: uniform in ±alpha / sqrt(length of the row · width).

    Returns:
        What takes the noise away.
    """
    decoder = model.get_base_model().base_model
    names = list(inspect.signature(decoder.forward).parameters)
    lengths: list[torch.Tensor] = []

    def note_lengths(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        lengths[:] = [row_lengths(given["input_ids"], given.get("attention_mask"), given.get("position_ids"))]

    def disturb(module: torch.nn.Module, args: Any, embeddings: torch.Tensor) -> torch.Tensor:
        if not module.training or not lengths:
            return embeddings
        bound = alpha / (lengths.pop() * embeddings.shape[-1]).to(embeddings.dtype).sqrt()
        return embeddings + torch.empty_like(embeddings).uniform_(-1, 1) * bound.unsqueeze(-1)

    handles = [
        decoder.register_forward_pre_hook(note_lengths, with_kwargs=True),
        model.get_input_embeddings().register_forward_hook(disturb),
    ]

    def remove() -> None:
        for handle in handles:
            handle.remove()

    return remove


def row_lengths(
    input_ids: torch.Tensor, attention_mask: torch.Tensor | None, position_ids: torch.Tensor | None
) -> torch.Tensor:
    """For each token the length of the row that it belongs to: int64[B, T], or [B, 1] where all of a line are alike.

    Args:
        input_ids: int64[B, T].
        attention_mask: [B, T], 0 where padded; or of another shape, which says nothing here.
        position_ids: int64[B, T], counted anew from 0 by each row packed into a line.
    """
    if position_ids is not None and position_ids.shape == input_ids.shape:
        count = input_ids.shape[1]
        is_last = torch.nn.functional.pad(position_ids[:, 1:] == 0, (0, 1), value=True)
        places = torch.where(is_last, torch.arange(count, device=input_ids.device), count)
        last_of_row = places.flip(-1).cummin(dim=-1).values.flip(-1)
        return position_ids.gather(-1, last_of_row) + 1
    if attention_mask is not None and attention_mask.shape == input_ids.shape:
        return attention_mask.sum(dim=-1, keepdim=True)
    return torch.full((input_ids.shape[0], 1), input_ids.shape[1], device=input_ids.device)
