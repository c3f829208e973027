"""Memory computed without weights: what it is made of, what it grows with, and that it is what real tensors take."""

import platform
from dataclasses import replace

import pytest
import torch
from support.project import Project
from support.training_context import row, training_context

from thinker.config.recipe_models import Recipe
from thinker.errors import ConfigError
from thinker.modeling.devices import Precision
from thinker.modeling.load import ModelSource, load_base_model
from thinker.training.hf_peft.loss import Collator, weighted_nll_sum
from thinker.training.hf_peft.memory import MemoryEstimate, estimate_memory, kernel_bytes, prepare_estimate
from thinker.training.hf_peft.model import with_adapter
from thinker.training.hf_peft.replay import StepMemory, replay_step
from thinker.training.hf_peft.skeleton import Skeleton, make_skeleton
from thinker.training.workload import BatchShape, workload

CPU = torch.device("cpu")
FLOAT32 = Precision("float32", "float32")


def recipe_and_source(project: Project, *overrides: str) -> tuple[Recipe, ModelSource]:
    context = training_context(project, [row(8)], *overrides)
    assert context.experiment.recipe is not None
    return context.experiment.recipe, ModelSource.of(context.experiment, context.cache_dir)


def skeleton(project: Project, *overrides: str, precision: Precision = FLOAT32) -> Skeleton:
    return make_skeleton(*recipe_and_source(project, *overrides), precision)


def replayed(
    project: Project,
    shape: BatchShape,
    *overrides: str,
    compute: torch.dtype = torch.float32,
    checkpointing: bool = False,
) -> StepMemory:
    return replay_step(
        skeleton(project, *overrides), shape, device=CPU, compute=compute, checkpointing=checkpointing,
        block_bound_bytes=1 << 40,
    )  # fmt: skip


def memory_of(project: Project, lengths: list[int], *overrides: str) -> MemoryEstimate:
    context = training_context(project, [row(length) for length in lengths], *overrides)
    return estimate_memory(prepare_estimate(context, workload(context)))


def real_model(project: Project, *overrides: str) -> torch.nn.Module:
    recipe, source = recipe_and_source(project, *overrides)
    base = load_base_model(source, device=CPU, dtype="float32", quantization=recipe.model.quantization)
    model: torch.nn.Module = with_adapter(base, recipe, source.name).train()
    return model


def test_a_skeleton_counts_the_parameters_of_the_real_model(project: Project) -> None:
    size, model = skeleton(project).dimensions, real_model(project)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert size.trained_parameters == trained
    assert size.base_parameters == sum(parameter.numel() for parameter in model.parameters()) - trained
    frozen = [tensor for tensor in (*model.parameters(), *model.buffers()) if not tensor.requires_grad]
    assert size.base_bytes == sum(tensor.numel() * tensor.element_size() for tensor in frozen)


@pytest.mark.parametrize("quantization", ["4bit", "8bit"])
def test_a_quantized_skeleton_takes_what_bitsandbytes_takes(project: Project, quantization: str) -> None:
    pytest.importorskip("bitsandbytes")
    override = f"model.quantization={quantization}"
    model = real_model(project, override)
    taken = 0
    for tensor in (*model.parameters(), *model.buffers()):
        taken += 0 if tensor.requires_grad else tensor.numel() * tensor.element_size()
        state = getattr(tensor, "quant_state", None)
        if state is not None:
            taken += state.absmax.numel() + state.state2.absmax.numel() * 4
        if getattr(tensor, "SCB", None) is not None:
            taken += tensor.SCB.numel() * 4
    assert skeleton(project, override).dimensions.base_bytes == pytest.approx(taken, rel=0.02)


def test_a_replay_saves_for_the_backward_pass_what_the_real_pass_saves(project: Project) -> None:
    rows = [row(40, trained=9), row(33, trained=5)]
    batch = Collator(pad_id=0)(rows, 1.0)
    model = real_model(project)
    kept: dict[int, int] = {}
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        weighted_nll_sum(model, batch, keeps_logits=True).backward()
    context = training_context(project, rows, "training.num_epochs=1")
    shape = prepare_estimate(context, workload(context)).heaviest.shape
    found = replayed(project, shape)
    # The peak is after the forward pass, when logits go backward: two gradients as large as they are come on top.
    logits = shape.rows * shape.positions * 512 * 4
    assert found.activation_bytes + found.logits_bytes == pytest.approx(sum(kept.values()) + 2 * logits, rel=0.1)


def test_replay_grows_with_length_rows_and_trained_positions(project: Project) -> None:
    base = BatchShape(2, 60, 10, padded=False)
    sizes = [
        (found := replayed(project, shape)).activation_bytes + found.logits_bytes
        for shape in (base, replace(base, length=120), replace(base, rows=4), replace(base, positions=40))
    ]
    assert sizes[0] < min(sizes[1:])


def test_a_mask_is_paid_for_where_rows_are_padded_alone(project: Project) -> None:
    shape = BatchShape(2, 200, 10, padded=False)
    masks = replayed(project, replace(shape, padded=True)).activation_bytes - replayed(project, shape).activation_bytes
    layers = 2
    assert masks >= layers * shape.rows * shape.length**2 * 4


def test_recomputing_activations_takes_less(project: Project) -> None:
    shape = BatchShape(2, 100, 10, padded=False)
    kept = replayed(project, shape).activation_bytes
    recomputed = replayed(project, shape, "training.gradient_checkpointing=true", checkpointing=True)
    assert recomputed.activation_bytes < kept * 0.8


def test_products_in_16_bits_are_counted_by_shape(project: Project) -> None:
    shape = BatchShape(1, 30, 5, padded=False)
    assert replayed(project, shape).low_precision_products == 0
    assert replayed(project, shape, compute=torch.bfloat16).low_precision_products > 5


def test_a_replay_leaves_random_state_and_default_type_alone(project: Project) -> None:
    before = torch.get_rng_state()
    replayed(project, BatchShape(1, 20, 5, padded=False))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_default_dtype() == torch.float32
    assert type(torch.zeros(1)) is torch.Tensor


def test_memory_on_cpu_has_these_parts(project: Project) -> None:
    found = memory_of(project, [60, 50, 30, 20])
    assert set(found.resident) == {"libraries", "weights", "adapter", "activations", "logits", "allocator"}
    assert found.device == {}
    assert found.resident["adapter"] == skeleton(project).dimensions.trained_parameters * 16


def test_converting_weights_takes_the_file_beside_them(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "0")
    light = ("lora.r=1", "training.per_device_batch_size=1")  # so that loading is the run's peak
    found = memory_of(project, [6], "model.dtype=bfloat16", *light).resident
    parameters = skeleton(project).dimensions.base_parameters
    assert set(found) == {"libraries", "weights", "loading"}
    assert found["loading"] == pytest.approx(parameters * 4, rel=0.1)  # the tiny model's file is float32
    assert "loading" not in memory_of(project, [6], *light).resident


@pytest.mark.parametrize(
    ("less", "more"),
    [
        (([30, 30], ()), ([60, 60], ())),
        (([60, 60], ("training.per_device_batch_size=1",)), ([60, 60], ("training.per_device_batch_size=2",))),
        (([60, 60], ("lora.r=2",)), ([60, 60], ("lora.r=32",))),
        (([60, 60], ("training.optim=sgd",)), ([60, 60], ())),
    ],
)
def test_memory_grows_with(project: Project, less: tuple[list[int], tuple[str, ...]],
                           more: tuple[list[int], tuple[str, ...]]) -> None:  # fmt: skip
    smaller, larger = (memory_of(project, lengths, *overrides).resident for lengths, overrides in (less, more))
    without = [sum(size for name, size in parts.items() if name != "libraries") for parts in (smaller, larger)]
    assert without[0] < without[1]


def test_holes_are_reckoned_with_where_the_allocator_is_glibc(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    assert memory_of(project, [60, 60]).resident["allocator"] > 0
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert memory_of(project, [60, 60]).resident["allocator"] == 0


def test_no_more_kernels_count_than_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernel_bytes(20, 4) == 2 * kernel_bytes(20, 2)
    assert kernel_bytes(20, 1000) == kernel_bytes(20, 2000)
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "10")
    assert kernel_bytes(20, 1000) == kernel_bytes(10, 1)


def test_a_layer_that_the_model_lacks_is_told(project: Project) -> None:
    with pytest.raises(ConfigError, match="no layer nowhere"):
        skeleton(project, 'lora.target_modules=["q_proj", "nowhere"]')
