"""Memory of this process and of the machine: what is in use, what is free, and the peak of a stretch of work."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_SAMPLE_INTERVAL_S = 0.01


def resident_bytes() -> int:
    """What this process holds in memory now (its resident set)."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def free_bytes() -> int:
    """What processes can still have without swapping."""
    import psutil

    return int(psutil.virtual_memory().available)


def free_device_bytes(device: str) -> int | None:
    """What is free on an accelerator (`cuda:0`); None where that cannot be asked, as on CPU and MPS."""
    if not device.startswith("cuda"):
        return None
    import torch

    return int(torch.cuda.mem_get_info(torch.device(device))[0])


class PeakMemory:
    """The most memory that this process holds inside the `with` block.

    On Linux the kernel keeps the mark, which starts anew here: `echo 5 > /proc/self/clear_refs`, proc(5). Where it
    cannot, the resident set is looked at every 10 ms, and a shorter peak may be missed.

    Attributes:
        resident_bytes: highest resident set.
        device_bytes: most that torch's allocator had given out on a CUDA device; None without one.
        sampled: whether the kernel did not keep the mark.
    """

    def __init__(self) -> None:
        self.resident_bytes = 0
        self.device_bytes: int | None = None
        self.sampled = False
        self._stop = threading.Event()
        self._sampler: threading.Thread | None = None

    def __enter__(self) -> PeakMemory:
        try:
            _CLEAR_REFS.write_text("5", encoding="ascii")
        except OSError:
            self.sampled = True
            self.resident_bytes = resident_bytes()
            self._sampler = threading.Thread(target=self._sample, daemon=True)
            self._sampler.start()
        if cuda := _cuda_in_use():
            for index in range(cuda.device_count()):
                cuda.reset_peak_memory_stats(index)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._sampler is not None:
            self._stop.set()
            self._sampler.join()
        self.resident_bytes = max(self.resident_bytes, resident_bytes() if self.sampled else _high_water_mark())
        if cuda := _cuda_in_use():
            self.device_bytes = sum(cuda.max_memory_allocated(index) for index in range(cuda.device_count()))

    def _sample(self) -> None:
        while not self._stop.wait(_SAMPLE_INTERVAL_S):
            self.resident_bytes = max(self.resident_bytes, resident_bytes())


def _high_water_mark() -> int:
    """The kernel's `VmHWM`."""
    line = next(line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _cuda_in_use() -> Any:
    """`torch.cuda`, where this process has begun to use it."""
    torch: Any = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized() else None
