"""NumPy's and torch's state, remembered without importing either."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

Restore = Callable[[], None]


def numpy_state() -> Restore:
    """Remember NumPy's global generator and error handling; the result puts them back."""
    loaded: Any = sys.modules.get("numpy")
    before = (loaded.random.get_state(), loaded.geterr()) if loaded else None

    def restore() -> None:
        numpy = loaded or sys.modules.get("numpy")
        if numpy is None:
            return
        if before is None:
            numpy.random.seed()  # as after a fresh import: from the system's entropy
            return
        generator, errors = before
        numpy.random.set_state(generator)
        numpy.seterr(**errors)

    return restore


def torch_state() -> Restore:
    """Remember torch's generators and the settings that change numbers; the result puts them back.

    Where torch was not loaded yet, it is given a fresh import's state; its thread count is the trainer's to set.
    """
    loaded: Any = sys.modules.get("torch")
    before = _remember(loaded) if loaded else None

    def restore() -> None:
        torch: Any = loaded or sys.modules.get("torch")
        if torch is None:
            return
        if before is not None:
            before()
            return
        torch.seed()
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
        if torch.get_deterministic_debug_mode():  # setting it, to whatever, imports the compiler
            torch.set_deterministic_debug_mode(0)
        torch.set_grad_enabled(True)

    return restore


def _remember(torch: Any) -> Restore:
    generator = torch.get_rng_state()
    device_generators = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    device = torch.get_default_device()
    settings = [(get, put, get()) for get, put in _settings(torch)]
    flags = [(owner, name, getattr(owner, name)) for owner, name in _flags(torch) if hasattr(owner, name)]

    def restore() -> None:
        torch.set_rng_state(generator)
        if device_generators is not None:
            torch.cuda.set_rng_state_all(device_generators)
        if torch.get_default_device() != device:
            # Naming the CPU is not the same: it would wrap every call that makes a tensor.
            torch.set_default_device(None if device.type == "cpu" else device)
        for get, put, value in settings:
            if get() != value:
                put(value)
        for owner, name, value in flags:
            if getattr(owner, name) != value:
                setattr(owner, name, value)

    return restore


def _settings(torch: Any) -> list[tuple[Callable[[], Any], Callable[[Any], Any]]]:
    def get_precision() -> str | None:
        try:
            return str(torch.get_float32_matmul_precision())
        except RuntimeError:  # set through the newer flags below, which torch does not let one ask for in this way
            return None

    def set_precision(value: str | None) -> None:
        if value is not None:
            torch.set_float32_matmul_precision(value)

    return [
        (torch.get_default_dtype, torch.set_default_dtype),
        (torch.get_num_threads, torch.set_num_threads),
        (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
        (torch.is_grad_enabled, torch.set_grad_enabled),
        (get_precision, set_precision),
    ]


def _flags(torch: Any) -> list[tuple[Any, str]]:
    backends = torch.backends
    parts = [
        getattr(part, kind)
        for part in (backends.cuda, backends.cudnn, backends.mkldnn)
        for kind in ("matmul", "conv", "rnn")
        if hasattr(part, kind)
    ]
    precision = [(owner, "fp32_precision") for owner in (backends, *parts)]
    return [*precision, (backends.cudnn, "benchmark"), (backends.cudnn, "deterministic")]
