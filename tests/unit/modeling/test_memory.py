"""The peak of a stretch of work, as the kernel keeps it and as it is sampled."""

import os
import time
from pathlib import Path

import pytest

from thinker.modeling import memory
from thinker.modeling.memory import PeakMemory, free_bytes, free_device_bytes, resident_bytes

SIZE = 64 << 20


def hold(size: int) -> None:
    """Fill `size` bytes and let them go."""
    block = bytearray(b"x") * size
    time.sleep(0.05)
    del block


def fail_inside(peak: PeakMemory) -> None:
    with peak:
        hold(SIZE)
        raise ZeroDivisionError


@pytest.fixture(params=["kernel", "sampled"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    if request.param == "sampled":
        monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "absent" / "clear_refs")
    elif not os.access(memory._CLEAR_REFS, os.W_OK):
        pytest.skip("no /proc/self/clear_refs here")
    return str(request.param)


def test_what_was_held_and_let_go_inside_counts(way: str) -> None:
    before = resident_bytes()
    with PeakMemory() as peak:
        hold(SIZE)
    assert peak.sampled == (way == "sampled")
    assert peak.resident_bytes == pytest.approx(before + SIZE, abs=SIZE // 4)


def test_what_was_held_before_does_not_count(way: str) -> None:
    hold(SIZE)
    before = resident_bytes()
    with PeakMemory() as peak:
        pass
    assert peak.resident_bytes < before + SIZE // 2


def test_the_peak_is_known_where_the_work_fails(way: str) -> None:
    before = resident_bytes()
    peak = PeakMemory()
    with pytest.raises(ZeroDivisionError):
        fail_inside(peak)
    assert peak.resident_bytes > before + SIZE // 2


def test_free_memory_is_that_of_the_machine() -> None:
    assert free_bytes() > 0
    assert free_device_bytes("cpu") is None
