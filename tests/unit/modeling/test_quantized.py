"""Quantized base models: the same weights in training and evaluation, and no code from elsewhere."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from thinker.modeling.load import ModelSource, load_base_model, unpacked

IDS = torch.arange(5, 69).reshape(2, 32)


def load(folder: Path, quantization: str, dtype: str = "float32") -> Any:
    source = ModelSource(str(folder), None, None, folder)
    return load_base_model(source, device=torch.device("cpu"), dtype=dtype, quantization=quantization)


def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(input_ids=IDS).logits
    return found


def test_a_4_bit_model_evaluates_on_the_weights_it_is_trained_on(tiny_model: Path) -> None:
    model = load(tiny_model, "4bit")
    embedded = model.get_input_embeddings()(IDS).detach().requires_grad_()
    trained_on = model(inputs_embeds=embedded).logits.detach()
    with torch.no_grad():
        evaluated = model(inputs_embeds=embedded.detach()).logits
    torch.testing.assert_close(evaluated, trained_on, rtol=0, atol=0)


def test_measuring_a_loss_takes_no_gradient_from_a_4_bit_model(tiny_model: Path) -> None:
    def gradient(model: Any) -> torch.Tensor:
        embedded = model.get_input_embeddings()(IDS).detach().requires_grad_()
        model.train()(inputs_embeds=embedded, labels=IDS).loss.backward()
        assert embedded.grad is not None
        return embedded.grad

    model = load(tiny_model, "4bit")
    before = gradient(model)
    with torch.no_grad():
        logits(model.eval())
    assert before.abs().max() > 0
    torch.testing.assert_close(gradient(model), before, rtol=0, atol=0)


@pytest.mark.parametrize(("quantization", "tolerance"), [("4bit", 0.0), ("8bit", 0.05)])
def test_the_unpacked_weights_are_those_of_the_products(tiny_model: Path, quantization: str, tolerance: float) -> None:
    with torch.no_grad():
        expected = logits(load(tiny_model, quantization))
        found = logits(unpacked(load(tiny_model, quantization)))
        plain = logits(load(tiny_model, "none"))
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * float(expected.std()))
    assert (plain - found).abs().max() > 0


@pytest.mark.parametrize(
    ("quantization", "dtype", "expected"),
    [("4bit", "float32", "float32"), ("4bit", "bfloat16", "bfloat16"), ("8bit", "bfloat16", "float32"),
     ("none", "bfloat16", "bfloat16")],
)  # fmt: skip
def test_unpacked_weights_lose_nothing_to_rounding(
    tiny_model: Path, quantization: str, dtype: str, expected: str
) -> None:
    layer = unpacked(load(tiny_model, quantization, dtype)).model.layers[0].self_attn.q_proj
    assert type(layer) is torch.nn.Linear
    assert layer.weight.dtype == getattr(torch, expected)


def test_no_kernel_is_fetched_from_the_hub(tmp_path: Path) -> None:
    """bitsandbytes asks the package `kernels` for one as soon as it is imported, on CPUs with AVX512-BF16."""
    package = tmp_path / "kernels"
    package.mkdir()
    (package / "__init__.py").write_text("def get_kernel(*names, **versions):\n    raise SystemExit('fetched')\n")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import thinker.modeling, bitsandbytes"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "kernels" not in done.stderr
