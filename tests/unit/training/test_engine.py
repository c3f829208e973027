"""A model is trained by fused parts where they compute the same, and by its own modules where they would not."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from thinker.data.encode import EncodedExample
from thinker.training.hf_peft import engine as engine_module
from thinker.training.hf_peft.engine import Engine, fuse, prepare_engine, unfuse
from thinker.training.hf_peft.loss import PackedRows, PaddedRows

CPU = torch.device("cpu")
# Very different lengths and weights.
ROWS = [
    EncodedExample(list(range(5, 5 + length)), [0.5 * (place % 5) for place in range(trained)])
    for length, trained in ((300, 20), (7, 3), (131, 130), (2, 1))
]


def adapted(folder: Path, **lora: Any) -> Any:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.manual_seed(1)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj"]
    model = get_peft_model(base, LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM", **lora))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return model.train()


def prepared(model: Any, **changes: Any) -> Engine:
    keywords: dict[str, Any] = {"pad_id": 0, "device": CPU, "compute": torch.float32, "longest": 300}
    return prepare_engine(model, ROWS, **{**keywords, **changes})


def gradients(model: Any, layout: Any, cut: list[list[EncodedExample]]) -> dict[str, torch.Tensor]:
    model.zero_grad()
    step_weight = sum(sum(row.weights) for rows in cut for row in rows)
    for rows in cut:
        batch = layout.collate(rows, step_weight)
        (layout.nll_sum(model, batch) / batch["step_weight"]).backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def test_all_parts_of_a_llama_are_replaced(tiny_model: Path) -> None:
    found = prepared(adapted(tiny_model))
    assert isinstance(found.layout, PackedRows)
    assert found.parts == {"lora": 10, "norm": 5, "gate": 2, "head": 1}
    assert found.reason is None


@pytest.mark.parametrize("cut", [[ROWS], [ROWS[:2], ROWS[2:]], [[row] for row in ROWS]], ids=["4x1", "2x2", "1x4"])
def test_gradients_are_those_of_padded_rows_however_the_step_is_cut(tiny_model: Path, cut) -> None:
    expected = gradients(adapted(tiny_model), PaddedRows(0), [ROWS])
    model = adapted(tiny_model)
    found = gradients(model, prepared(model).layout, cut)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= 1e-5 * gradient.norm(), name


def test_recomputed_activations_give_the_same_gradients(tiny_model: Path) -> None:
    kept = adapted(tiny_model)
    expected = gradients(kept, prepared(kept).layout, [ROWS])
    model = adapted(tiny_model)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    found = gradients(model, prepared(model).layout, [ROWS])
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-7)


def test_dropout_draws_what_peft_would_draw(tiny_model: Path) -> None:
    losses = []
    for layout in (lambda model: fuse(model, CPU).layout, packed_by_own_modules):
        model = adapted(tiny_model, lora_dropout=0.5)
        laid = layout(model)
        torch.manual_seed(9)
        losses.append(float(laid.nll_sum(model, laid.collate(ROWS, 1.0))))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def packed_by_own_modules(model: Any) -> PackedRows:
    layout = fuse(model, CPU).layout
    engine_module.fused.remove(model)
    assert isinstance(layout, PackedRows)
    return layout


def test_preparing_draws_no_random_number_and_leaves_the_mode(tiny_model: Path) -> None:
    model = adapted(tiny_model, lora_dropout=0.5)
    before = torch.get_rng_state()
    prepared(model)
    assert torch.equal(before, torch.get_rng_state())
    assert model.training


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"attention_dropout": 0.1}, "attention_dropout"),
        ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ({"sliding_window": 128}, "window of 128"),
        ({"layer_types": ["linear_attention", "full_attention"]}, "linear_attention"),
    ],
)
def test_a_configuration_that_says_more_than_causal_attention_is_trained_its_own_way(
    tiny_model: Path, config: dict[str, Any], reason: str
) -> None:
    model = adapted(tiny_model)
    for name, value in config.items():
        setattr(model.get_base_model().config, name, value)
    found = prepared(model)
    assert isinstance(found.layout, PaddedRows)
    assert found.reason is not None
    assert reason in found.reason
    assert found.parts == {}


def test_weights_spread_over_processes_are_left_to_the_models_own_modules(tiny_model: Path) -> None:
    assert isinstance(prepared(adapted(tiny_model), sharded=True).layout, PaddedRows)


def test_a_head_that_is_trained_or_scaled_makes_its_own_logits(tiny_model: Path) -> None:
    trained = adapted(tiny_model, modules_to_save=["lm_head"])
    scaled = adapted(tiny_model)
    scaled.get_base_model().config.logit_scale = 0.5
    for model in (trained, scaled):
        found = prepared(model)
        assert isinstance(found.layout, PackedRows)
        assert found.parts["head"] == 0


def test_a_model_that_turns_out_to_compute_something_else_is_named_and_left_whole(tiny_model: Path, caplog) -> None:
    model = adapted(tiny_model)
    norm = model.get_base_model().model.norm
    own = type(norm)

    class OnePlusWeight(own):  # type: ignore[valid-type, misc]
        """As Gemma's: its parts are those of any other norm of the kind."""

        def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
            return super().forward(hidden_states) * (1 + self.weight) / self.weight

    norm.__class__ = OnePlusWeight
    OnePlusWeight.__name__ = "GemmaRMSNorm"
    expected = gradients(model, PaddedRows(0), [ROWS])
    with caplog.at_level(logging.WARNING, logger="thinker"):
        found = prepared(model)
    assert isinstance(found.layout, PaddedRows)
    assert "loss of" in caplog.text
    for name, gradient in gradients(model, found.layout, [ROWS]).items():
        assert torch.equal(gradient, expected[name]), name


def test_undoing_leaves_the_model_as_it_was(tiny_model: Path) -> None:
    model = adapted(tiny_model)
    expected = gradients(model, PaddedRows(0), [ROWS])
    fuse(model, CPU)
    unfuse(model)
    assert not [name for name, module in model.named_modules() if "forward" in module.__dict__]
    for name, gradient in gradients(model, PaddedRows(0), [ROWS]).items():
        assert torch.equal(gradient, expected[name]), name
