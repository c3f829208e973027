"""What differs where several processes train together: devices, sharding, dropout, and how the adapter is collected."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from transformers import TrainingArguments, set_seed

from thinker.config.recipe_models import Recipe
from thinker.errors import PreconditionError
from thinker.modeling.devices import Precision
from thinker.processes import World

if TYPE_CHECKING:
    from thinker.training.hf_peft.trainer import PlanTrainer

log = logging.getLogger("thinker")

_FSDP: Final = "FSDP"
_DEEPSPEED: Final = "DeepSpeed"
_OTHER_WAYS: Final = {
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "tensor, context or sequence parallelism",
}
_MIXED_PRECISION: Final = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def sharding(variables: Mapping[str, str] | None = None) -> str | None:
    """How the launcher divides the model among the processes: `FSDP`, `DeepSpeed`, or None where each has it whole."""
    found = os.environ if variables is None else variables
    if _is_set(found, "ACCELERATE_USE_FSDP"):
        return _FSDP
    return _DEEPSPEED if _is_set(found, "ACCELERATE_USE_DEEPSPEED") else None


def device_of(world: World, device: torch.device) -> torch.device:
    """The device that this process drives.

    Args:
        world: this process among the others.
        device: what `model.device` means on this machine.

    Raises:
        PreconditionError: there is none for it.
    """
    if world.size == 1:
        if device.index:  # the Trainer drives the first device that it sees
            raise PreconditionError(
                f"model.device is '{device}': to train on that device, set CUDA_VISIBLE_DEVICES={device.index} in the "
                "environment and model.device to 'cuda'"
            )
        return device
    if device.type == "mps":
        raise PreconditionError("several processes cannot share a device of type mps; start one, or set model.device")
    if device.type == "cpu":
        return device
    if device.index:
        raise PreconditionError(
            f"model.device is '{device}', but {world.size} processes train together, each on a device of its own; set "
            "model.device to 'cuda' or 'auto'"
        )
    count = torch.cuda.device_count()
    if world.local_size > count:
        raise PreconditionError(
            f"{world.local_size} processes were started on this machine, which has {count} CUDA device(s); start one "
            "for each (torchrun --nproc-per-node, accelerate launch --num_processes)"
        )
    return torch.device("cuda", world.local_rank)


def require_exact(recipe: Recipe, world: World, device: torch.device) -> None:
    """Refuse a launcher's configuration with which the step's loss, the recipe or the adapter would not be the plan's.

    Raises:
        PreconditionError: names the setting, and what to do.
    """
    if world.size == 1:
        return
    for variable, name in _OTHER_WAYS.items():
        if _is_set(os.environ, variable):
            raise PreconditionError(
                f"the launcher's configuration asks for {name}; Thinker trains in several processes with rows dealt to "
                "each (DDP, FSDP, DeepSpeed ZeRO)"
            )
    if isinstance(recipe.model.device_map, dict):
        raise PreconditionError(
            "model.device_map places the model on devices by hand, but each of several processes has a device of its "
            "own; remove model.device_map, or start one process"
        )
    way = sharding()
    if way is None:
        return
    if problem := problem_of_sharding(recipe, device, way):
        raise PreconditionError(f"{way}: {problem}")


def problem_of_sharding(
    recipe: Recipe, device: torch.device, way: str, variables: Mapping[str, str] | None = None
) -> str | None:
    """What speaks against dividing the model in this way, with what to do; None where nothing does."""
    found = os.environ if variables is None else variables
    if device.type != "cuda":
        return f"accelerate divides a model among CUDA devices alone, not on {device.type}; start without it"
    if recipe.model.quantization in ("4bit", "8bit"):
        return "a quantized model is not divided; set model.quantization to 'none', or start without it (DDP)"
    if recipe.training.load_best_model_at_end:
        return "training.load_best_model_at_end needs all weights in each process; set it to false, or start without it"
    if way == _FSDP:
        if found.get("FSDP_VERSION", "1") != "2":
            return "version 1 needs one precision for base model and adapter; set fsdp_version: 2"
        if _is_set(found, "FSDP_CPU_RAM_EFFICIENT_LOADING"):
            return "set fsdp_cpu_ram_efficient_loading: false, so that each process reads the model and checks it"
    if way == _DEEPSPEED and _is_set(found, "ACCELERATE_DEEPSPEED_ZERO3_INIT"):
        return "set zero3_init_flag: false, so that each process reads the model and checks it"
    return None


def placement(
    recipe: Recipe, world: World, device: torch.device
) -> tuple[torch.device, str | dict[str, str | int] | None]:
    """Where a process loads the base model: the device, and the map that goes with it.

    A model that is to be divided must fit no device: it is read into memory, and divided from there.
    """
    if world.size == 1:
        return device, recipe.model.device_map
    return (torch.device("cpu") if sharding() else device), None


def settle(arguments: TrainingArguments, precision: Precision, world: World) -> None:
    """Let the recipe decide where the launcher's configuration has a say in the same thing.

    Raises:
        PreconditionError: a DeepSpeed configuration with an optimizer or a schedule of its own.
    """
    asked, decided = os.environ.get("ACCELERATE_MIXED_PRECISION", "no"), _MIXED_PRECISION[precision.compute]
    if world.size > 1 and asked not in ("no", decided):
        log.warning("the launcher's mixed_precision is '%s'; the recipe decides: '%s'", asked, decided)
    arguments.mixed_precision = decided
    plugin = arguments.deepspeed_plugin
    if plugin is not None:
        plugin.set_mixed_precision(decided)
        if own := [name for name in ("optimizer", "scheduler") if name in plugin.deepspeed_config]:
            raise PreconditionError(
                f"DeepSpeed: its configuration has {' and '.join(own)} of its own, which the recipe would not decide; "
                "remove them there"
            )
    # All of an adapter is used in each pass, and a language model has no buffers that training changes.
    arguments.ddp_find_unused_parameters = False
    arguments.ddp_broadcast_buffers = False


def draw_apart(seed: int, world: World) -> None:
    """Give each process random numbers of its own (dropout), once the adapter's first weights were drawn alike.

    Process 0 draws as one process alone would.
    """
    if world.size > 1:
        set_seed(seed + world.rank)


def require_readable(checkpoint: Path) -> None:
    """Refuse to go on from a checkpoint that only other machines can read.

    Raises:
        PreconditionError: it is not here.
    """
    if not checkpoint.is_dir():
        raise PreconditionError(
            f"the checkpoint {checkpoint} is not on this machine; to go on from it, put output.checkpoint_dir on a "
            "disk that all machines share, or start anew with --fresh"
        )


def trained_weights(trainer: PlanTrainer) -> dict[str, torch.Tensor]:
    """The adapter's weights by name, collected from all processes where they are divided: all must take part."""
    model = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    if trainer.is_deepspeed_enabled:
        # With bf16 the engine rounds the adapter for computing; the optimizer holds the weights themselves.
        from deepspeed.utils import safe_get_full_fp32_param

        return {name: safe_get_full_fp32_param(weight).detach() for name, weight in trained.items()}
    return {name: whole(weight.detach()) for name, weight in trained.items()}


def whole(weight: torch.Tensor) -> torch.Tensor:
    """`weight`, collected from all processes where it is divided."""
    return weight.full_tensor() if hasattr(weight, "full_tensor") else weight


def leave() -> None:
    """Untie the processes, so that process 0 evaluates as one alone would.

    A process group of gloo stays until the process ends: torch waits for gloo's threads when it is destroyed, with the
    interpreter's lock held that they may need to free a tensor.
    """
    from accelerate.state import AcceleratorState
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()
    if torch.distributed.is_initialized() and "gloo" not in torch.distributed.get_backend():
        torch.distributed.destroy_process_group()
    AcceleratorState._reset_state(True)


def _is_set(variables: Mapping[str, str], name: str) -> bool:
    return variables.get(name, "").strip().lower() in ("1", "true", "yes", "y", "on", "t")
