"""What is refused, decided and dealt out where several processes train together."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support.training_context import row

from thinker.config.recipe_models import Recipe
from thinker.data.encoded_rows import EncodedRows
from thinker.data.plan import Plan
from thinker.errors import PreconditionError
from thinker.modeling.devices import Precision
from thinker.processes import World
from thinker.training.hf_peft import distributed
from thinker.training.hf_peft.loader import PlanLoader
from thinker.training.hf_peft.loss import PackedRows, PaddedRows

TWO = World(1, 2, 1, 2)
CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_CPU_RAM_EFFICIENT_LOADING": "false"}


@pytest.fixture
def recipe(project) -> Recipe:
    from thinker.config import load_experiment

    found = load_experiment(project.root / "pipeline.yaml", command="train").recipe
    assert found is not None
    return found


def with_model(recipe: Recipe, **settings: object) -> Recipe:
    return dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, **settings))


def with_training(recipe: Recipe, **settings: object) -> Recipe:
    return dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, **settings))


def test_each_process_drives_the_device_of_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert distributed.device_of(TWO, CUDA) == torch.device("cuda", 1)
    assert distributed.device_of(TWO, CPU) == CPU
    assert distributed.device_of(World(), CUDA) == CUDA


@pytest.mark.parametrize(
    ("world", "device", "said"),
    [
        (World(), torch.device("cuda", 1), "CUDA_VISIBLE_DEVICES=1"),
        (TWO, torch.device("cuda", 1), "each on a device of its own"),
        (TWO, torch.device("mps"), "cannot share a device of type mps"),
        (TWO, CUDA, "2 processes were started on this machine, which has 1 CUDA"),
    ],
)
def test_devices_that_processes_cannot_have_are_refused(monkeypatch, world: World, device, said: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(PreconditionError, match=said):
        distributed.device_of(world, device)


@pytest.mark.parametrize(
    ("variables", "change", "device", "said"),
    [
        ({"ACCELERATE_USE_MEGATRON_LM": "true"}, {}, CUDA, "asks for Megatron-LM"),
        ({"ACCELERATE_USE_PARALLELISM_CONFIG": "true"}, {}, CUDA, "asks for tensor, context"),
        ({}, {"device_map": {"": 0}}, CUDA, "model.device_map places the model"),
        (FSDP, {}, CPU, "FSDP: accelerate divides a model among CUDA devices alone"),
        ({**FSDP, "FSDP_VERSION": "1"}, {}, CUDA, "set fsdp_version: 2"),
        ({**FSDP, "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}, {}, CUDA, "set fsdp_cpu_ram_efficient_loading: false"),
        (FSDP, {"quantization": "4bit"}, CUDA, "a quantized model is not divided"),
        ({"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO3_INIT": "true"}, {}, CUDA,
         "DeepSpeed: set zero3_init_flag: false"),
    ],
)  # fmt: skip
def test_what_would_not_be_exact_is_refused(monkeypatch, recipe: Recipe, variables, change, device, said: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(PreconditionError, match=said):
        distributed.require_exact(with_model(recipe, **change), TWO, device)
    distributed.require_exact(with_model(recipe, **change), World(), device)  # one process heeds no launcher


def test_the_best_weights_cannot_be_kept_of_a_divided_model(monkeypatch, recipe: Recipe) -> None:
    for name, value in FSDP.items():
        monkeypatch.setenv(name, value)
    distributed.require_exact(recipe, TWO, CUDA)
    with pytest.raises(PreconditionError, match="load_best_model_at_end"):
        distributed.require_exact(with_training(recipe, load_best_model_at_end=True), TWO, CUDA)


def test_a_divided_model_is_read_into_memory_and_a_whole_one_onto_its_device(monkeypatch, recipe: Recipe) -> None:
    monkeypatch.delenv("ACCELERATE_USE_FSDP", raising=False)
    assert distributed.placement(recipe, World(), CUDA) == (CUDA, "auto")
    assert distributed.placement(recipe, TWO, CUDA) == (CUDA, None)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert distributed.placement(recipe, TWO, CUDA) == (CPU, None)


def settled(plugin: object = None) -> SimpleNamespace:
    return SimpleNamespace(mixed_precision="no", deepspeed_plugin=plugin)


def test_the_recipes_precision_counts_and_not_the_launchers(monkeypatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    arguments = settled()
    with caplog.at_level(logging.WARNING, logger="thinker"):
        distributed.settle(arguments, Precision("bfloat16", "bfloat16"), TWO)
    assert arguments.mixed_precision == "bf16"
    assert "mixed_precision is 'fp16'; the recipe decides: 'bf16'" in caplog.text


def test_a_deepspeed_configuration_with_an_optimizer_is_refused() -> None:
    plugin = SimpleNamespace(set_mixed_precision=lambda name: None, deepspeed_config={"optimizer": {"type": "Lamb"}})
    with pytest.raises(PreconditionError, match="its configuration has optimizer of its own"):
        distributed.settle(settled(plugin), Precision("float32", "float32"), TWO)


def test_processes_draw_apart_and_process_0_as_one_alone() -> None:
    def drawn(world: World) -> float:
        torch.manual_seed(7)
        distributed.draw_apart(7, world)
        return float(torch.rand(()))

    alone = drawn(World())
    assert drawn(World(0, 2, 0, 2)) == alone
    assert drawn(TWO) != alone
    assert drawn(TWO) == drawn(TWO)


def test_a_checkpoint_that_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    distributed.require_readable(tmp_path)
    with pytest.raises(PreconditionError, match="is not on this machine"):
        distributed.require_readable(tmp_path / "checkpoint-3")


@pytest.mark.parametrize("layout", [PaddedRows(0), PackedRows()], ids=["padded", "packed"])
def test_a_process_without_rows_gets_as_many_micro_batches_and_no_loss(layout) -> None:
    rows = EncodedRows.of([row(length) for length in (9, 12, 7)])
    plan = Plan(3, False, 0, 1, micro_batch_size=1, accumulation=2, world_size=2)
    of_ranks = [list(PlanLoader(rows, range(3), plan, layout.collate, rank)) for rank in (0, 1)]
    assert [len(batches) for batches in of_ranks] == [2, 2]
    assert [float(batches[1]["weights"].sum()) for batches in of_ranks] == [4.0, 0.0]
    assert {float(batch["step_weight"]) for batches in of_ranks for batch in batches} == {12.0}
