"""Which device and which precision a run uses, and what is said where a setting cannot be honoured.

The rules, in order:

| asked for | on | becomes |
|---|---|---|
| `fp16: true` | CUDA | float16 |
| `fp16: true` | CPU with bfloat16 instructions | bfloat16, announced |
| `fp16: true` | other CPU, MPS | float32, announced |
| `bf16: true` | CUDA without bfloat16 | float16, announced |
| `bf16: true` | CPU without bfloat16 instructions, MPS | float32, announced |
| `bf16: true` | elsewhere | bfloat16 |
| neither | CUDA with bfloat16 | bfloat16 |
| neither, or `bf16: false` | elsewhere | float32 |
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from thinker.config.recipe_models import Recipe
from thinker.errors import PreconditionError
from thinker.modeling.determinism import thread_count

if TYPE_CHECKING:
    import torch

DtypeName = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Precision:
    """What a run computes in.

    Attributes:
        compute: precision of the forward and backward pass (autocast where it is not float32).
        storage: precision in which the base model's weights are kept.
        announcements: settings that the hardware could not honour, and what was done instead.
    """

    compute: DtypeName
    storage: DtypeName
    announcements: tuple[str, ...] = ()


def resolve_device(name: str) -> torch.device:
    """The device that `model.device` means here.

    Raises:
        PreconditionError: a device that this machine does not have.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = device.index or 0
        if index >= count:
            found = f"{count} CUDA device(s)" if count else "no CUDA device"
            raise PreconditionError(
                f"model.device is '{name}', but this machine has {found}; set model.device to 'auto' or 'cpu'"
            )
        return torch.device("cuda", index)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise PreconditionError("model.device is 'mps', but this machine has none; set model.device to 'auto' or 'cpu'")
    return device


def resolve_precision(*, fp16: bool, bf16: bool | None, dtype: str, device_type: str, native_bf16: bool) -> Precision:
    """Apply the rules of this module.

    Args:
        fp16: `training.fp16`.
        bf16: `training.bf16`; None where absent.
        dtype: `model.dtype`; `auto` keeps the weights in the precision of computation.
        device_type: `cpu`, `cuda` or `mps`.
        native_bf16: whether the device has bfloat16 instructions.
    """
    compute: DtypeName
    announcements: list[str] = []
    if fp16:
        compute = (
            "float16" if device_type == "cuda" else "bfloat16" if device_type == "cpu" and native_bf16 else "float32"
        )
        if device_type != "cuda":
            announcements.append(f"training.fp16: float16 training needs CUDA; computing in {compute} on {device_type}")
    elif bf16:
        compute = "bfloat16"
        if device_type == "mps" or not native_bf16:  # a CPU would emulate it, many times slower than float32
            compute = "float16" if device_type == "cuda" else "float32"
        if compute != "bfloat16":
            announcements.append(f"training.bf16: this {device_type} lacks bfloat16 of its own; using {compute}")
    else:
        compute = "bfloat16" if bf16 is None and device_type == "cuda" and native_bf16 else "float32"
    storage: Any = compute if dtype == "auto" else dtype
    return Precision(compute, storage, tuple(announcements))


def has_native_bf16(device: torch.device) -> bool:
    """Whether `device` computes in bfloat16 by instructions of its own."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.get_device_capability(device)[0] >= 8)
    if device.type == "cpu":
        return "avx512_bf16" in _cpu_flags() or "amx_bf16" in _cpu_flags() or " bf16" in _cpu_flags()
    return False


def _cpu_flags() -> str:
    """The CPU's feature flags where the system lists them (Linux); empty elsewhere."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return ""
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def precision_on(device: torch.device, recipe: Recipe) -> Precision:
    """What the recipe's precision becomes on `device`."""
    return resolve_precision(
        fp16=recipe.training.fp16,
        bf16=recipe.training.bf16,
        dtype=recipe.model.dtype,
        device_type=device.type,
        native_bf16=has_native_bf16(device),
    )


def hardware(recipe: Recipe) -> dict[str, str | int]:
    """What a recipe computes on here, as far as an adapter's bits depend on it."""
    device = resolve_device(recipe.model.device)
    precision = precision_on(device, recipe)
    kind = describe(device).partition(" ")[2] or device.type
    return {"device": kind, "compute": precision.compute, "weights": precision.storage, "threads": thread_count()}


def describe(device: torch.device) -> str:
    """The device's name for the record: `cpu`, or `cuda:0 (NVIDIA …)`."""
    import torch

    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)
