"""Each kind of adapter, saved: plain PEFT on the untouched base model gives what the trained model gave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from support.project import Project
from support.training_context import row, training_context
from transformers import AutoModelForCausalLM, AutoTokenizer

from thinker.errors import ConfigError
from thinker.modeling.load import ModelSource, load_base_model
from thinker.training.hf_peft.artifacts import save_adapter
from thinker.training.hf_peft.model import with_adapter
from thinker.training.hf_peft.plain_lora import taken_from_base

IDS = torch.arange(5, 45).reshape(2, 20)
PATTERNS = ("lora.rank_pattern={q_proj: 2}", "lora.alpha_pattern={k_proj: 3, layers.1.self_attn.v_proj: 5}")
MODULES = "lora.modules_to_save=[lm_head, embed_tokens]"


def adapted(project: Project, *overrides: str) -> Any:
    context = training_context(project, [row(8)], *overrides)
    recipe = context.experiment.recipe
    assert recipe is not None
    base = load_base_model(
        ModelSource.of(context.experiment, context.cache_dir), device=torch.device("cpu"), dtype="float32",
        quantization=recipe.model.quantization,
    )  # fmt: skip
    torch.manual_seed(0)
    return with_adapter(base, recipe, "base")


def train_a_little(model: Any) -> None:
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    model.train()
    for _ in range(4):
        model(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(IDS).logits
    return found


def saved(model: Any, tiny_model: Path, folder: Path, first: Any) -> Any:
    provenance = {"base_model": {"name": "base"}}
    save_adapter(model, AutoTokenizer.from_pretrained(tiny_model), folder, provenance, taken_from_base=first)
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), folder).eval()


@pytest.mark.parametrize(
    "overrides",
    [
        ("lora.init_lora_weights=pissa",),
        ("lora.init_lora_weights=pissa_niter_8", "lora.use_rslora=true", *PATTERNS),
        ("lora.init_lora_weights=pissa", "lora.use_dora=true", MODULES, "lora.bias=all"),
        ("lora.init_lora_weights=pissa", "lora.target_modules=[q_proj, embed_tokens, lm_head]"),
        ("lora.init_lora_weights=olora", *PATTERNS),
        ("lora.init_lora_weights=gaussian", MODULES),
        ("lora.init_lora_weights=orthogonal", "lora.use_dora=true"),
        ("lora.init_lora_weights=false", "lora.use_rslora=true"),
    ],
    ids=lambda overrides: " ".join(each.partition("=")[0].partition(".")[2] for each in overrides),
)  # fmt: skip
def test_the_saved_adapter_is_the_trained_model_on_the_untouched_base(
    project: Project, tiny_model: Path, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    model = adapted(project, *overrides)
    first = taken_from_base(model)
    before = logits(model)
    train_a_little(model)
    expected = logits(model)
    assert (expected - before).abs().max() > 0.05
    assert torch.allclose(logits(saved(model, tiny_model, tmp_path / "adapter", first)), expected, atol=2e-5)


def test_an_adapter_taken_from_the_base_begins_where_the_base_model_is(project: Project, tiny_model: Path) -> None:
    model = adapted(project, "lora.init_lora_weights=pissa")
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert torch.allclose(logits(model), logits(base), atol=1e-5)
    changed = model.get_base_model().model.layers[0].self_attn.q_proj.base_layer.weight
    assert not torch.allclose(changed, base.model.layers[0].self_attn.q_proj.weight, atol=1e-3)


def test_its_configuration_is_that_of_a_plain_lora_of_twice_the_rank(
    project: Project, tiny_model: Path, tmp_path: Path
) -> None:
    model = adapted(project, "lora.init_lora_weights=pissa", *PATTERNS)
    saved(model, tiny_model, tmp_path / "adapter", taken_from_base(model))
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["lora_alpha"], config["init_lora_weights"]) == (8, 16, True)
    assert (config["rank_pattern"], config["alpha_pattern"]["k_proj"]) == ({"q_proj": 4}, 6)


@pytest.mark.parametrize("first", ["true", "gaussian", "orthogonal"])
def test_an_adapter_that_leaves_the_base_alone_is_saved_as_it_is(project: Project, first: str) -> None:
    assert taken_from_base(adapted(project, f"lora.init_lora_weights={first}")) is None


def test_weights_trained_beside_are_in_float32_and_saved(project: Project, tiny_model: Path, tmp_path: Path) -> None:
    model = adapted(project, MODULES, "model.dtype=bfloat16")
    assert {weight.dtype for weight in model.parameters() if weight.requires_grad} == {torch.float32}
    again = saved(model, tiny_model, tmp_path / "adapter", None)
    assert sum("modules_to_save" in name for name, _ in again.named_parameters()) == 2


def test_input_and_output_that_are_one_matrix_stay_one_where_both_are_trained(
    project: Project, tiny_model: Path, tmp_path: Path
) -> None:
    tied = AutoModelForCausalLM.from_pretrained(tiny_model)
    tied.config.tie_word_embeddings = True
    tied.tie_weights()
    tied.save_pretrained(tmp_path / "tied")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path / "tied")
    model = adapted(project, f"model.name={tmp_path / 'tied'}", MODULES)
    train_a_little(model)
    expected = logits(model)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    save_adapter(
        model, AutoTokenizer.from_pretrained(tiny_model), tmp_path / "adapter", {"base_model": {"name": "base"}}
    )
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "tied")
    assert torch.allclose(logits(PeftModel.from_pretrained(base, tmp_path / "adapter").eval()), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["lora.modules_to_save=[nope]"], r"modules_to_save: the model has no module nope \(among its modules: model,"),
        (["lora.exclude_modules=[nope]"], r"exclude_modules: the model has no layer nope \(its linear layers: "),
        (["lora.exclude_modules=[o_proj]"], "target_modules: no o_proj is left to adapt"),
        (["lora.rank_pattern={nope: 2}"], "rank_pattern: no adapted layer is called 'nope'"),
        (["lora.alpha_pattern={nope: 2}"], "alpha_pattern: no adapted layer is called 'nope'"),
        (["lora.layers_to_transform=[1, 7]"], "no layer to adapt in block 7; the model's blocks are 0 to 1"),
        (["lora.layers_to_transform=[1]", "lora.layers_pattern=blocks"], "layers_pattern: no list of blocks"),
        (["lora.init_lora_weights=pissa", "lora.r=40"], "k_proj has only 32 directions for a rank of 40; lower lora.r"),
        (["model.quantization=4bit", "lora.target_modules=[v_proj]", "lora.modules_to_save=[q_proj]"],
         "modules_to_save: q_proj is quantized, and cannot be trained whole"),
    ],
)  # fmt: skip
def test_what_a_key_names_must_be_there(project: Project, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        adapted(project, *overrides)


def test_blocks_and_exclusions_choose_the_layers(project: Project) -> None:
    model = adapted(
        project, "lora.target_modules=[q_proj, v_proj]", "lora.layers_to_transform=[1]",
        "lora.exclude_modules=[layers.0.self_attn.v_proj]",
    )  # fmt: skip
    assert model.base_model.targeted_module_names == [f"model.layers.1.self_attn.{name}_proj" for name in "qv"]


def test_ranks_and_scales_follow_their_patterns(project: Project) -> None:
    model = adapted(project, "lora.use_rslora=true", *PATTERNS)
    attention = model.get_base_model().model.layers[1].self_attn
    assert [attention.q_proj.r["default"], attention.k_proj.r["default"]] == [2, 4]
    scales = [getattr(attention, f"{name}_proj").scaling["default"] for name in "qkvo"]
    assert scales == pytest.approx([8 / 2**0.5, 3 / 2, 5 / 2, 8 / 2])
