"""Each fused part computes what the modules do that it stands for, in value and in gradient."""

import pytest
import torch
from torch.nn import functional

from thinker.training.hf_peft.fused import LoraProduct, RmsNorm, SiluProduct
from thinker.training.hf_peft.head import HeadNll


def numbers(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)), dtype=dtype).requires_grad_()


def frozen(*shape: int, seed: int = 1) -> torch.Tensor:
    return numbers(*shape, seed=seed).detach()


def same_gradients(ours: torch.Tensor, theirs: torch.Tensor, inputs: list[torch.Tensor]) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    gradient = frozen(*ours.shape, seed=5)
    for found, expected in zip(
        torch.autograd.grad(ours, inputs, gradient, retain_graph=True),
        torch.autograd.grad(theirs, inputs, gradient),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("drops", [True, False])
def test_the_lora_product(bias: bool, drops: bool) -> None:
    x, a, b = numbers(2, 5, 7), numbers(3, 7), numbers(4, 3)
    weight, offset = frozen(4, 7), frozen(4) if bias else None
    dropped = functional.dropout(x, 0.5) if drops else None
    theirs = functional.linear(x, weight, offset) + ((x if dropped is None else dropped) @ a.t() @ b.t()) * 0.7
    same_gradients(LoraProduct.apply(x, dropped, weight, offset, a, b, 0.7), theirs, [x, a, b])


def test_the_lora_product_of_inputs_without_gradient_trains_the_adapter_alone() -> None:
    x, a, b, weight = frozen(5, 7), numbers(3, 7), numbers(4, 3), frozen(4, 7)
    theirs = functional.linear(x, weight) + x @ a.t() @ b.t()
    same_gradients(LoraProduct.apply(x, None, weight, None, a, b, 1.0), theirs, [a, b])


def test_the_lora_products_adapter_stays_in_float32_under_autocast() -> None:
    x, a, b = (
        numbers(5, 7, dtype=torch.bfloat16),
        numbers(3, 7, dtype=torch.float32),
        numbers(4, 3, dtype=torch.float32),
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = LoraProduct.apply(x, None, frozen(4, 7).bfloat16(), None, a, b, 1.0)
    assert output.dtype == torch.bfloat16
    gradients = torch.autograd.grad(output.float().sum(), [x, a, b])
    assert [gradient.dtype for gradient in gradients] == [torch.bfloat16, torch.float32, torch.float32]


def test_the_norm() -> None:
    x, weight = numbers(2, 5, 8, dtype=torch.float32), frozen(8).float()
    theirs = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * weight
    ours = RmsNorm.apply(x, weight, 1e-5)
    torch.testing.assert_close(ours, theirs)
    gradient = frozen(2, 5, 8, seed=5).float()
    torch.testing.assert_close(
        *(torch.autograd.grad(output, x, gradient)[0] for output in (ours, theirs)), rtol=1e-4, atol=1e-5
    )


def test_the_gate() -> None:
    gate, up = numbers(5, 7), numbers(5, 7, seed=2)
    same_gradients(SiluProduct.apply(gate, up), functional.silu(gate) * up, [gate, up])


def test_the_heads_loss_and_its_gradient_whatever_the_chunks(monkeypatch) -> None:
    hidden, weight, targets = numbers(11, 6), frozen(9, 6), torch.arange(11) % 9
    weights = torch.linspace(0, 5, 11, dtype=torch.float64)
    theirs = (functional.cross_entropy(hidden @ weight.t(), targets, reduction="none") * weights).sum()
    expected = torch.autograd.grad(theirs * 3, hidden)[0]
    for chunk_bytes in (1, 4 * 9 * 4, 1 << 20):
        monkeypatch.setattr("thinker.training.hf_peft.head._CPU_CHUNK_BYTES", chunk_bytes)
        ours = HeadNll.apply(hidden, weight, targets, weights)
        assert float(ours) == pytest.approx(float(theirs), rel=1e-6)
        torch.testing.assert_close(torch.autograd.grad(ours * 3, hidden)[0], expected, rtol=1e-5, atol=1e-6)


def test_the_heads_gradient_survives_a_loss_scale_beyond_float16() -> None:
    hidden, weight = numbers(3, 6, dtype=torch.float16), frozen(9, 6).half()
    weights = torch.full((3,), 1e-3, dtype=torch.float64)
    loss = HeadNll.apply(hidden, weight, torch.tensor([0, 4, 8]), weights)
    (gradient,) = torch.autograd.grad(loss * 2.0**20, hidden)
    assert gradient.dtype == torch.float16
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 1
