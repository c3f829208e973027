"""Causal attention over rows that lie one after another in a packed micro-batch, each row by itself.

Transformers calls it by the name that `register` gives it. Rows are cut out by their lengths, so there is no padding
and no mask over the whole micro-batch, whose size would be the square of all tokens.

On an accelerator each row goes through torch's fused kernels (`scaled_dot_product_attention`). On CPU those are slow
in the backward pass, and the row is computed here as matrix products: query heads that share a key head are stacked, so
that each product is one batched call, and queries are taken in blocks, so that no block looks at keys behind its end.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface

NAME = "thinker_rows"
# Queries that are taken together: the products stay large, and a row of 400 tokens leaves out a third of the scores.
_BLOCK = 128
# Rows up to this length keep their probabilities for the backward pass, which then need not be computed again. They
# are as large as all that a layer keeps otherwise where a row has about this many tokens.
_KEEP_UP_TO = 1024


class AttentionNotPlainError(ValueError):
    """A model asks for more than causal attention within each row."""


def register() -> None:
    """Make the function known to Transformers as `thinker_rows`. Twice does no harm."""
    AttentionInterface.register(NAME, attend_rows)


def attend_rows(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    row_lengths: Sequence[int] | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention within each row, as Transformers calls an attention function.

    Args:
        module: the attention layer.
        query: [1, heads, T, D], with T the tokens of all rows.
        key: [1, key heads, T, D]; heads are a multiple of key heads.
        value: [1, key heads, T, D].
        attention_mask: none; the rows say what attends to what.
        scaling: of the scores; None is 1/sqrt(D).
        dropout: none.
        row_lengths: tokens of each row, in order; their sum is T.
        kwargs: what else Transformers passes to every attention function.

    Returns:
        The output [1, T, heads, D], and no attention weights.

    Raises:
        AttentionNotPlainError: the model asks for something that is not computed here.
    """
    window = kwargs.get("sliding_window")
    asked = {
        "a mask": attention_mask is not None,
        "dropout": bool(dropout),
        "attention over no known rows": row_lengths is None,
        "capped scores": kwargs.get("softcap") is not None,
        "attention sinks": kwargs.get("s_aux") is not None,
        "a window": window is not None and row_lengths is not None and window < max(row_lengths),
        "attention to what comes later": kwargs.get("is_causal") is False or not getattr(module, "is_causal", True),
    }
    if more := [name for name, holds in asked.items() if holds]:
        raise AttentionNotPlainError(f"its attention asks for {', '.join(more)}")
    assert row_lengths is not None
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    kind = query.device.type
    if torch.is_autocast_enabled(kind):  # as `scaled_dot_product_attention` would: their types may differ
        query, key, value = (part.to(torch.get_autocast_dtype(kind)) for part in (query, key, value))
    if kind == "cpu":
        output = _RowsOnCpu.apply(query[0], key[0], value[0], scale, tuple(row_lengths))
        return output.unsqueeze(0), None
    rows = [part.split(list(row_lengths), dim=2) for part in (query, key, value)]
    outputs = [
        functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True)
        for q, k, v in zip(*rows, strict=True)
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


class _RowsOnCpu(torch.autograd.Function):
    """Scores and softmax in float32; the other products in the operands' precision, summed in float32.

    Dao 2023, "FlashAttention-2", section 2: the formulas of the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, lengths: tuple[int, ...]
    ) -> torch.Tensor:
        heads, tokens, size = query.shape
        output = query.new_empty(tokens, heads, size)
        kept: list[torch.Tensor] = []
        with torch.autocast("cpu", enabled=False):
            for row in _rows(lengths, query, key, value):
                for block in _blocks(row.length):
                    probabilities = row.probabilities(block, scale)
                    product = torch.bmm(probabilities, row.value[:, : block.stop])
                    output[row.tokens][block] = _unstacked(product, heads).transpose(0, 1)
                    if row.length <= _KEEP_UP_TO:
                        kept.append(probabilities)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.scale, ctx.lengths = scale, lengths
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, *saved = ctx.saved_tensors
        kept, heads = iter(saved), query.shape[0]
        gradient = gradients[0].transpose(0, 1)
        d_query, d_key, d_value = (torch.empty_like(tensor) for tensor in (query, key, value))
        for row in _rows(ctx.lengths, query, key, value):
            d_keys = torch.zeros(row.key.shape, dtype=torch.float32)
            d_values = torch.zeros_like(d_keys)
            for block in _blocks(row.length):
                keys = slice(block.stop)
                probabilities = next(kept) if row.length <= _KEEP_UP_TO else row.probabilities(block, ctx.scale)
                d_output = _stacked(gradient[:, row.tokens], block, len(key))
                d_values[:, keys] += torch.bmm(probabilities.transpose(1, 2), d_output)
                d_probabilities = torch.bmm(d_output, row.value[:, keys].transpose(1, 2))
                d_scores = torch._softmax_backward_data(d_probabilities, probabilities, -1, query.dtype)
                product = torch.bmm(d_scores, row.key[:, keys])
                d_query[:, row.tokens][:, block] = _unstacked(product.mul_(ctx.scale), heads)
                d_keys[:, keys] += torch.bmm(d_scores.transpose(1, 2), row.stacked_query(block))
            d_key[:, row.tokens] = d_keys.mul_(ctx.scale)
            d_value[:, row.tokens] = d_values
        return d_query, d_key, d_value, None, None


@dataclass(frozen=True)
class _Row:
    """One row of a packed micro-batch: L tokens.

    Attributes:
        tokens: their place in the micro-batch.
        query: [heads, L, D].
        key: [key heads, L, D], contiguous; value alike.
    """

    tokens: slice
    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor

    @property
    def length(self) -> int:
        return self.tokens.stop - self.tokens.start  # type: ignore[no-any-return]

    def stacked_query(self, block: slice) -> torch.Tensor:
        """[key heads, heads / key heads · n, D]: the block's n queries of all heads that share a key head."""
        return _stacked(self.query, block, len(self.key))

    def probabilities(self, block: slice, scale: float) -> torch.Tensor:
        """[key heads, heads / key heads · n, m]: what the block's n queries make of the m keys up to its end."""
        precision = torch.promote_types(self.query.dtype, torch.float32)
        queries = self.stacked_query(block).to(precision)
        keys = self.key[:, : block.stop].to(precision)
        with _products_of(self.query.dtype):
            scores = torch.bmm(queries, keys.transpose(1, 2)).mul_(scale)
        size = block.stop - block.start
        later = torch.full((size, size), -math.inf).triu_(1)
        scores.view(len(keys), -1, size, block.stop)[..., block.start :] += later
        return scores.softmax(-1).to(self.query.dtype)


@contextlib.contextmanager
def _products_of(dtype: torch.dtype) -> Iterator[None]:
    """Lets float32 products of numbers that `dtype` holds exactly be computed by its instructions.

    With bfloat16 they multiply such numbers exactly, add in float32 and give float32 back, three times as fast: no
    batched product of torch takes bfloat16 and gives float32. Torch before 2.9 cannot be asked for it.
    """
    products: Any = getattr(torch.backends.mkldnn, "matmul", None)
    if dtype != torch.bfloat16 or products is None:
        yield
        return
    before = products.fp32_precision
    products.fp32_precision = "bf16"
    try:
        yield
    finally:
        products.fp32_precision = before


def _rows(lengths: Sequence[int], query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> Iterator[_Row]:
    start = 0
    for length in lengths:
        tokens = slice(start, start + length)
        yield _Row(tokens, query[:, tokens], key[:, tokens].contiguous(), value[:, tokens].contiguous())
        start += length


def _blocks(length: int) -> Iterator[slice]:
    """Blocks of `_BLOCK` queries and a shorter last one, so that rows of any length share most kernels' shapes."""
    for start in range(0, length, _BLOCK):
        yield slice(start, min(start + _BLOCK, length))


def _stacked(tensor: torch.Tensor, block: slice, groups: int) -> torch.Tensor:
    """[heads, L, D] to [groups, heads / groups · n, D], of the block's n positions."""
    heads, _, size = tensor.shape
    return tensor[:, block].reshape(groups, heads // groups * (block.stop - block.start), size)


def _unstacked(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """[groups, heads / groups · n, D] to [heads, n, D]."""
    return tensor.view(heads, -1, tensor.shape[-1])
