"""Peak memory of a training run on this machine, from the model's `config.json` and the plan, with no weight loaded.

Loading and training each have a peak; the higher one is the run's. On CPU all of it is the process's resident set:

| part | from |
|---|---|
| libraries | this process as it is, all that training imports loaded |
| weights | the base model in the precision or quantization asked for |
| loading | the weights' file, mapped into memory while its numbers are converted |
| adapter | its float32 weights, their gradients and the optimizer's state |
| copies | of its best weights (`load_best_model_at_end`), of its first (PiSSA, OLoRA) |
| activations, logits | the heaviest micro-batch, gone through with fake tensors (`replay`) |
| allocator | what glibc's malloc cannot use again, and the matrix kernels that oneDNN compiles |

On an accelerator the middle rows lie there, and the resident set is libraries and loading alone.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from thinker.config.optimizers import OPTIMIZERS
from thinker.config.recipe_models import CHANGE_THE_BASE, Recipe
from thinker.modeling.determinism import KERNELS_KEPT
from thinker.modeling.devices import Precision, precision_on, resolve_device
from thinker.modeling.load import ModelSource, weight_files
from thinker.modeling.memory import resident_bytes
from thinker.training.base import TrainingContext
from thinker.training.hf_peft.replay import StepMemory, replay_step
from thinker.training.hf_peft.skeleton import Skeleton, make_skeleton
from thinker.training.workload import Dimensions, MicroBatch, Workload, heaviest

_MIB = 1 << 20
# malloc maps larger blocks apart and gives them back whole: DEFAULT_MMAP_THRESHOLD_MAX in glibc's malloc.c. Smaller
# ones share a heap in which each freed tensor leaves a hole that the next, of another size, does not fill.
_MAPPED_APART_BYTES = 32 * _MIB
# Bytes of holes for each byte of live tensors: 0.4 to 1.1 with glibc 2.36, as benchmarks/bench_estimates.py measures.
_HOLES = 0.7
# Each matrix product in 16 bits on CPU is compiled for its shape, and oneDNN keeps the last ones. Measured:
# 430 to 790 KiB each, 640 as a rule, for matrices of 16 x 576 to 2048 x 8192.
_KERNEL_BYTES = 640 * 1024


@dataclass(frozen=True)
class MemoryEstimate:
    """What a run will hold at its peak.

    Attributes:
        resident: parts of the process's resident set, in bytes.
        device: parts of what torch's allocator gives out on an accelerator; empty on CPU.
        kernels: kernels compiled for each shape of micro-batch.
    """

    resident: Mapping[str, int]
    device: Mapping[str, int]
    kernels: int


@dataclass(frozen=True)
class Prepared:
    """What memory and work are computed from: the run's device and precision, its model's shape, its heaviest batch."""

    recipe: Recipe
    source: ModelSource
    device: torch.device
    precision: Precision
    skeleton: Skeleton
    work: Workload
    heaviest: MicroBatch

    @property
    def dimensions(self) -> Dimensions:
        return self.skeleton.dimensions


def prepare_estimate(context: TrainingContext, work: Workload) -> Prepared:
    """Everything an estimate needs.

    Raises:
        PreconditionError: no such model or device.
        ConfigError: the model lacks a layer that the recipe names.
    """
    recipe = context.experiment.recipe
    assert recipe is not None  # who trains has one
    device = resolve_device(recipe.model.device)
    precision = precision_on(device, recipe)
    source = ModelSource.of(context.experiment, context.cache_dir)
    skeleton = make_skeleton(recipe, source, precision)
    batch = heaviest(work, skeleton.dimensions)
    return Prepared(recipe, source, device, precision, skeleton, work, batch)


def estimate_memory(prepared: Prepared) -> MemoryEstimate:
    """Peak memory by parts. Uses up the skeleton.

    Raises:
        Exception: as `replay_step`: the model cannot be gone through without its contents.
    """
    recipe, device, size = prepared.recipe, prepared.device, prepared.dimensions
    step = replay_step(
        prepared.skeleton, prepared.heaviest.shape, device=device,
        compute=getattr(torch, prepared.precision.compute), checkpointing=recipe.training.gradient_checkpointing,
        block_bound_bytes=_MAPPED_APART_BYTES,
    )  # fmt: skip
    libraries = {"libraries": resident_bytes()}
    loading = {"loading": _loading_bytes(prepared)}
    weights = {"weights": size.base_bytes}
    training = {
        "adapter": _adapter_bytes(recipe, size),
        "activations": step.activation_bytes,
        "logits": step.logits_bytes,
    }
    copies = _copies_bytes(recipe, size)
    if device.type != "cpu":
        return MemoryEstimate(libraries | loading | copies, weights | training, 0)
    allocator = {"allocator": _holes_bytes(step) + kernel_bytes(step.low_precision_products, prepared.work.shapes)}
    phases = [libraries | weights | loading, libraries | weights | training | copies | allocator]
    return MemoryEstimate(max(phases, key=lambda parts: sum(parts.values())), {}, step.low_precision_products)


def kernel_bytes(kernels: int, shapes: int) -> int:
    """What oneDNN keeps of kernels compiled for `shapes` shapes of micro-batch."""
    kept = int(os.environ.get("ONEDNN_PRIMITIVE_CACHE_CAPACITY", KERNELS_KEPT))
    return min(kernels * shapes, kept) * _KERNEL_BYTES


def _holes_bytes(step: StepMemory) -> int:
    return int(_HOLES * step.block_bytes) if platform.libc_ver()[0] == "glibc" else 0


def _adapter_bytes(recipe: Recipe, size: Dimensions) -> int:
    """Trained weights, their gradients and the optimizer's state, which is less for layers of few weights."""
    training = recipe.training
    state = OPTIMIZERS[training.optim].state_bytes
    if training.optim == "sgd" and training.optim_args.get("momentum"):
        state += 4
    return int(size.trained_parameters * (4 + 4 + state))


def _copies_bytes(recipe: Recipe, size: Dimensions) -> dict[str, int]:
    """Trained weights that are kept beside those in training: the best ones, and the first ones of PiSSA and OLoRA."""
    first = recipe.lora.init_lora_weights
    count = recipe.training.load_best_model_at_end + (isinstance(first, str) and first.startswith(CHANGE_THE_BASE))
    return {"copies": count * 4 * size.trained_parameters} if count else {}


def _loading_bytes(prepared: Prepared) -> int:
    """What loading takes beside the weights it leaves.

    Weights of the right type stay in the mapped file, whose pages are then the weights. Others are converted from it;
    quantizing converts them to the type of computation first.
    """
    files: list[Path] = weight_files(prepared.source)
    stored = sum(path.stat().st_size for path in files)
    storage: torch.dtype = getattr(torch, prepared.precision.storage)
    whole: int = prepared.dimensions.base_parameters * storage.itemsize
    quantized = prepared.recipe.model.quantization in ("4bit", "8bit")
    if quantized:
        return (stored or whole) + whole
    same_type = not files or abs(stored - whole) < whole // 10
    return 0 if same_type and prepared.device.type == "cpu" else stored or whole
