"""Nucleus sampling in which each record draws from a generator of its own, seeded by (seed, record id)."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Any

import torch
from transformers import LogitsProcessor


def record_random(seed: int, record_id: str) -> random.Random:
    """The generator of one record: the same whatever else is evaluated, in whatever order."""
    return random.Random(hashlib.sha256(f"{seed}:{record_id}".encode()).digest())


def nucleus_tokens(logits: torch.Tensor, uniforms: Sequence[float], temperature: float, top_p: float) -> torch.Tensor:
    """One token a row by inverse transform sampling from the nucleus.

    The nucleus is the smallest set of likeliest tokens whose probability reaches `top_p` (Holtzman et al., "The
    Curious Case of Neural Text Degeneration", ICLR 2020). Tokens of equal probability are ordered by id.

    Args:
        logits: float[B, V].
        uniforms: for each row, a number in [0, 1).
        temperature: positive; divides the logits.
        top_p: in (0, 1].

    Returns:
        int64[B].
    """
    if logits.device.type == "mps":  # has no float64
        return nucleus_tokens(logits.cpu(), uniforms, temperature, top_p).to(logits.device)
    probabilities = torch.softmax(logits.double() / temperature, dim=-1)
    ordered, ids = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    cumulative = torch.where(before < top_p, ordered, 0.0).cumsum(dim=-1)
    draws = torch.tensor(uniforms, dtype=cumulative.dtype, device=cumulative.device) * cumulative[:, -1]
    places = torch.searchsorted(cumulative, draws[:, None], right=True).clamp(max=ids.shape[-1] - 1)
    return ids.gather(-1, places).squeeze(-1)


class PerRecordSampling(LogitsProcessor):
    """Draws each row's next token with that row's generator, and leaves greedy search no other choice."""

    def __init__(self, randoms: Sequence[random.Random], temperature: float, top_p: float) -> None:
        self._randoms = randoms
        self._temperature, self._top_p = temperature, top_p

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Scores [B, V] with 0 for the token drawn and minus infinity for all others."""
        uniforms = [generator.random() for generator in self._randoms]
        tokens = nucleus_tokens(scores, uniforms, self._temperature, self._top_p)
        return torch.full_like(scores, float("-inf")).scatter(-1, tokens[:, None], 0.0)
