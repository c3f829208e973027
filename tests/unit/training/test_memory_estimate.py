"""Memory computed without weights: what it is made of, what it grows with, and that it is what real tensors take."""

import platform

import pytest
import torch
from support.project import Project
from support.training_context import row, training_context

from thinker.config.recipe_models import Recipe
from thinker.errors import ConfigError
from thinker.modeling.devices import Precision
from thinker.modeling.load import ModelSource, load_base_model
from thinker.training.hf_peft import replay
from thinker.training.hf_peft.engine import fuse
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
    model = real_model(project)
    layout = fuse(model, CPU).layout
    batch = layout.collate(rows, 1.0)
    kept: dict[int, int] = {}
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layout.nll_sum(model, batch).backward()
    context = training_context(project, rows, "training.num_epochs=1")
    shape = prepare_estimate(context, workload(context)).heaviest.shape
    found = replayed(project, shape)
    # What is saved is all there when the forward pass ends; then gradients of a layer at a time come and go.
    saved = sum(kept.values())
    assert 0.98 * saved <= found.activation_bytes <= 1.3 * saved


def test_replay_grows_with_length_rows_and_trained_positions(project: Project) -> None:
    base = BatchShape((60, 60), 10)
    sizes = [
        (found := replayed(project, shape)).activation_bytes + found.logits_bytes
        for shape in (base, BatchShape((120, 120), 10), BatchShape((60,) * 4, 10), BatchShape((60, 60), 100))
    ]
    assert sizes[0] < min(sizes[1:])


def test_a_model_that_cannot_pack_pays_for_padding_and_its_mask(project: Project, monkeypatch) -> None:
    even, uneven = BatchShape((200, 200), 10), BatchShape((200, 10), 10)
    packed = replayed(project, uneven).activation_bytes
    assert packed < 0.7 * replayed(project, even).activation_bytes
    monkeypatch.setattr(replay, "unsuited", lambda *args, **kwargs: "a test says so")
    layers, rows = 2, 2
    masks = replayed(project, uneven).activation_bytes - replayed(project, even).activation_bytes
    assert masks >= layers * rows * 200**2 * 4


def test_recomputing_activations_takes_less(project: Project) -> None:
    shape = BatchShape((100, 100), 10)
    kept = replayed(project, shape).activation_bytes
    recomputed = replayed(project, shape, "training.gradient_checkpointing=true", checkpointing=True)
    assert recomputed.activation_bytes < kept * 0.8


def test_products_in_16_bits_are_counted_by_shape(project: Project) -> None:
    shape = BatchShape((30,), 5)
    assert replayed(project, shape).low_precision_products == 0
    assert replayed(project, shape, compute=torch.bfloat16).low_precision_products > 5


def test_a_replay_leaves_random_state_and_default_type_alone(project: Project) -> None:
    before = torch.get_rng_state()
    replayed(project, BatchShape((20,), 5))
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


@pytest.mark.parametrize(
    ("settings", "bytes_per_weight"),
    [([], 16), (["training.optim=adamw_8bit"], 10), (["training.optim=ademamix"], 20), (["training.optim=sgd"], 8),
     (["training.optim=sgd", "training.optim_args={momentum: 0.9}"], 12)],
)  # fmt: skip
def test_the_adapters_memory_has_the_state_of_its_optimizer(
    project: Project, settings: list[str], bytes_per_weight: int
) -> None:
    trained = skeleton(project, *settings).dimensions.trained_parameters
    assert memory_of(project, [32], *settings).resident["adapter"] == bytes_per_weight * trained


def test_copies_of_best_and_first_weights_are_memory_too(project: Project) -> None:
    settings = ["data.validation_split=0.5", "training.load_best_model_at_end=true", "lora.init_lora_weights=pissa"]
    trained = skeleton(project, *settings).dimensions.trained_parameters
    assert memory_of(project, [32], *settings).resident["copies"] == 2 * 4 * trained
    assert "copies" not in memory_of(project, [32]).resident


def test_modules_trained_whole_count_beside_the_originals(project: Project) -> None:
    plain, whole = (skeleton(project, *each).dimensions for each in ([], ["lora.modules_to_save=[lm_head]"]))
    assert whole.trained_parameters - plain.trained_parameters == plain.head_parameters
    assert (whole.head_parameters, whole.linear_parameters) == (plain.head_parameters, plain.linear_parameters)
    assert whole.base_bytes == plain.base_bytes
