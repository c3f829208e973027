"""Attention over packed rows equals torch's own, row by row, in value and in gradient."""

import pytest
import torch
from torch.nn import functional

from thinker.training.hf_peft import attention
from thinker.training.hf_peft.attention import AttentionNotPlainError, attend_rows

# Around the size of a block, and beyond: one token, a block less one, a block, a block and one, several.
LENGTHS = (5, 1, 127, 128, 129, 300)


def operands(dtype: torch.dtype, heads: int, key_heads: int, tokens: int = sum(LENGTHS)) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    # As models make them: heads and tokens swapped, so that memory is not in the order of the shape.
    return [
        torch.randn(1, tokens, count, 8, generator=generator, dtype=dtype).transpose(1, 2).requires_grad_()
        for count in (heads, key_heads, key_heads)
    ]


def reference(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None = None) -> torch.Tensor:
    rows = [part.split(list(LENGTHS), dim=2) for part in (query, key, value)]
    outputs = [
        functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True)
        for q, k, v in zip(*rows, strict=True)
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2)


def with_gradients(output: torch.Tensor, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    gradient = torch.randn(output.shape, generator=torch.Generator().manual_seed(4), dtype=output.dtype)
    return [output.detach(), *torch.autograd.grad(output, inputs, gradient)]


@pytest.mark.parametrize("kept", [True, False], ids=["probabilities kept", "computed again"])
@pytest.mark.parametrize(("heads", "key_heads"), [(4, 4), (6, 2), (3, 1)])
def test_values_and_gradients_are_torchs(heads: int, key_heads: int, kept: bool, monkeypatch) -> None:
    monkeypatch.setattr(attention, "_KEEP_UP_TO", 1024 if kept else 0)
    inputs = operands(torch.float32, heads, key_heads)
    found = with_gradients(attend_rows(None, *inputs, None, scaling=0.3, row_lengths=LENGTHS)[0], inputs)
    for ours, theirs in zip(found, with_gradients(reference(*inputs, scale=0.3), inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_finite_differences() -> None:
    inputs = [part[:, :, :9].double().detach().requires_grad_() for part in operands(torch.float64, 4, 2)]
    assert torch.autograd.gradcheck(
        lambda *parts: attend_rows(None, *parts, None, row_lengths=(2, 7))[0], inputs, atol=1e-4
    )


def test_scores_of_half_precision_are_not_rounded() -> None:
    exact = [part.detach().double() for part in operands(torch.bfloat16, 6, 2)]
    inputs = operands(torch.bfloat16, 6, 2)
    found = with_gradients(attend_rows(None, *inputs, None, row_lengths=LENGTHS)[0], inputs)
    theirs = with_gradients(reference(*inputs), inputs)
    leaves = [part.requires_grad_() for part in exact]
    truth = with_gradients(reference(*leaves), leaves)
    for ours, torchs, true in zip(found, theirs, truth, strict=True):
        error, torchs_error = ((part.double() - true).norm() / true.norm() for part in (ours, torchs))
        assert error < max(1.5 * torchs_error, 0.006)


def test_autocast_rounds_the_operands_and_not_the_scores() -> None:
    query, key, value = operands(torch.float32, 4, 2)
    expected = attend_rows(None, *(part.bfloat16() for part in (query, key, value)), None, row_lengths=LENGTHS)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = attend_rows(None, query, key, value.bfloat16(), None, row_lengths=LENGTHS)[0]
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"dropout": 0.1}, "dropout"),
        ({"attention_mask": torch.ones(1, 1, 3, 3)}, "a mask"),
        ({"softcap": 30.0}, "capped scores"),
        ({"s_aux": torch.ones(2)}, "sinks"),
        ({"sliding_window": 64}, "a window"),
        ({"is_causal": False}, "later"),
        ({"row_lengths": None}, "no known rows"),
    ],
)
def test_what_it_does_not_compute_is_refused(asked: dict, named: str) -> None:
    keywords = {"attention_mask": None, "row_lengths": LENGTHS, **asked}
    with pytest.raises(AttentionNotPlainError, match=named):
        attend_rows(None, *operands(torch.float32, 2, 2), **keywords)


def test_a_window_wider_than_every_row_changes_nothing() -> None:
    inputs = operands(torch.float32, 2, 2)
    plain, _ = attend_rows(None, *inputs, None, row_lengths=LENGTHS)
    assert torch.equal(attend_rows(None, *inputs, None, row_lengths=LENGTHS, sliding_window=300)[0], plain)
