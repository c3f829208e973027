"""The merged weights are those of base model and adapter, whatever the adapter changes."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from thinker.errors import EvaluationError
from thinker.merging.weights import merged_model
from thinker.modeling.load import ModelSource, load_base_model

IDS = torch.arange(5, 69).reshape(2, 32)
CPU = torch.device("cpu")

ADAPTERS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "all linear layers": {"target_modules": "all-linear"},
    "all biases": {"bias": "all", "target_modules": ["q_proj"]},
    "a whole module": {"modules_to_save": ["lm_head"]},
    "head and embedding whole": {"modules_to_save": ["lm_head", "embed_tokens"]},
    "embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "head": {"target_modules": ["lm_head", "q_proj"]},
    "patterns": {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 32}},
}


@pytest.fixture(scope="module", params=["tied", "untied"])
def base(request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with biases; in one form, its embedding is its head."""
    folder = tmp_path_factory.mktemp(request.param)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    model.config.attention_bias, model.config.tie_word_embeddings = True, request.param == "tied"
    torch.manual_seed(3)
    remade = LlamaForCausalLM(model.config)
    for name, parameter in remade.named_parameters():
        torch.nn.init.normal_(parameter, mean=float("norm" in name), std=0.05)
    remade.save_pretrained(folder)
    return folder


def load(folder: Path, quantization: str = "none", dtype: str = "float32") -> Any:
    source = ModelSource(str(folder), None, None, folder)
    return load_base_model(source, device=CPU, dtype=dtype, quantization=quantization)


def make_adapter(base: Path, folder: Path, **settings: Any) -> Path:
    """An adapter every tensor of which changes something."""
    config = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM", **settings}
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**config))
    torch.manual_seed(1)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn_like(parameter)
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return folder


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=IDS).logits.float()
    return found


def tensors(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    return ((name, value) for name, value in model.state_dict().items() if value.is_floating_point())


@pytest.mark.parametrize("kind", ADAPTERS)
def test_what_is_written_does_what_base_model_and_adapter_do(base: Path, tmp_path: Path, kind: str) -> None:
    adapter = make_adapter(base, tmp_path / "adapter", **ADAPTERS[kind])
    expected = logits(PeftModel.from_pretrained(load(base), str(adapter)))
    assert (expected - logits(load(base))).abs().max() > 0.01
    merged_model(load(base), adapter, torch.float32).save_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(load(tmp_path / "merged")), expected, rtol=1e-5, atol=2e-6)


def test_only_the_adapted_layers_change(base: Path, tmp_path: Path) -> None:
    adapter = make_adapter(base, tmp_path / "adapter")
    before: Mapping[str, torch.Tensor] = dict(tensors(load(base)))
    changed = {
        name
        for name, value in tensors(merged_model(load(base), adapter, torch.float32))
        if not torch.equal(value, before[name])
    }
    assert changed == {f"model.layers.{n}.self_attn.{part}.weight" for n in (0, 1) for part in ("q_proj", "v_proj")}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("trained_in", ["float32", "bfloat16"])
@pytest.mark.parametrize("quantization", ["4bit", "8bit"])
def test_a_quantized_layer_becomes_its_unpacked_weights_and_the_change(
    base: Path, tmp_path: Path, quantization: str, trained_in: str, dtype: torch.dtype
) -> None:
    adapter = make_adapter(base, tmp_path / "adapter")
    quantized = load(base, quantization, trained_in)
    layer = quantized.model.layers[1].self_attn.v_proj
    # A product with the unit matrix reads the weights out, each column alone, so that 8-bit activations are exact.
    eye = torch.eye(layer.in_features, dtype=getattr(torch, trained_in))
    with torch.no_grad():
        seen = (layer(eye) - layer(torch.zeros_like(eye))).T.float()
    merged = merged_model(quantized, adapter, dtype)
    found = merged.model.layers[1].self_attn.v_proj
    stored = PeftModel.from_pretrained(load(base), str(adapter)).base_model.model.model.layers[1].self_attn.v_proj
    change = stored.lora_B["default"].weight @ stored.lora_A["default"].weight * 2
    assert type(found) is torch.nn.Linear
    assert found.weight.dtype == dtype
    # What bitsandbytes gives out of an 8-bit product was float16 on the way.
    kinds = [dtype, getattr(torch, trained_in), *([torch.float16] if quantization == "8bit" else [])]
    rounding = max(torch.finfo(kind).eps for kind in kinds)
    torch.testing.assert_close(found.weight.float(), (seen + change).detach(), rtol=rounding, atol=rounding * 0.3)


@pytest.mark.parametrize("quantization", ["none", "4bit", "8bit"])
def test_nothing_of_the_quantization_is_left_in_the_configuration(
    base: Path, tmp_path: Path, quantization: str
) -> None:
    adapter = make_adapter(base, tmp_path / "adapter")
    merged_model(load(base, quantization), adapter, torch.float32).save_pretrained(tmp_path / "merged")
    written = (tmp_path / "merged" / "config.json").read_text(encoding="utf-8")
    assert "quantization" not in written


def test_an_adapter_with_a_weight_that_is_not_finite_is_refused(base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    adapter = make_adapter(base, tmp_path / "adapter")
    path = adapter / "adapter_model.safetensors"
    weights = load_file(path)
    next(iter(weights.values()))[0, 0] = float("nan")
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(EvaluationError, match="cannot be merged"):
        merged_model(load(base), adapter, torch.float32)
