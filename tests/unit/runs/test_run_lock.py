from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
import pytest

from thinker.errors import PreconditionError
from thinker.runs import checkpoint_lock
from thinker.runs.lock import HOLDER_NAME

HOLDER = """
import sys
from pathlib import Path
from thinker.runs import checkpoint_lock
with checkpoint_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts another process that holds the lock of `tmp_path / "checkpoints"` until its input ends."""
    started: list[subprocess.Popen[str]] = []

    def begin() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDER, str(tmp_path / "checkpoints")]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_folder_is_made_and_can_be_locked_again_after_release(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "checkpoints"

    for _ in range(2):
        with checkpoint_lock(folder):
            assert (folder / HOLDER_NAME).exists()

    assert not (folder / HOLDER_NAME).exists()


def test_second_process_is_refused_and_told_who_holds_the_folder(
    tmp_path: Path, holder: Callable[[], subprocess.Popen[str]]
) -> None:
    process = holder()

    with (
        pytest.raises(PreconditionError, match="in use by another run") as refusal,
        checkpoint_lock(tmp_path / "checkpoints"),
    ):
        pass

    assert str(tmp_path / "checkpoints") in str(refusal.value)
    assert f"process {process.pid} on " in str(refusal.value)
    assert "since 20" in str(refusal.value)


def test_refusal_leaves_the_holder_on_record(tmp_path: Path, holder: Callable[[], subprocess.Popen[str]]) -> None:
    process = holder()

    for _ in range(2):
        with pytest.raises(PreconditionError, match=str(process.pid)), checkpoint_lock(tmp_path / "checkpoints"):
            pass


def test_same_process_cannot_hold_a_folder_twice(tmp_path: Path) -> None:
    with checkpoint_lock(tmp_path), pytest.raises(PreconditionError, match="in use"), checkpoint_lock(tmp_path):
        pass


def test_folder_is_free_once_the_holder_ends(tmp_path: Path, holder: Callable[[], subprocess.Popen[str]]) -> None:
    holder().communicate("")

    with checkpoint_lock(tmp_path / "checkpoints"):
        pass


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this platform")
def test_folder_is_free_once_the_holder_is_killed(tmp_path: Path, holder: Callable[[], subprocess.Popen[str]]) -> None:
    process = holder()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    assert (tmp_path / "checkpoints" / HOLDER_NAME).exists(), "the killed holder could not tidy up"
    with checkpoint_lock(tmp_path / "checkpoints"):
        pass


def test_lock_is_released_when_the_work_under_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []  # a lock object that is collected lets go by itself
    make = filelock.FileLock

    def make_and_keep(path: Path, timeout: float) -> filelock.BaseFileLock:
        kept.append(make(path, timeout=timeout))
        return kept[-1]

    monkeypatch.setattr(filelock, "FileLock", make_and_keep)

    with pytest.raises(RuntimeError, match="out of memory"), checkpoint_lock(tmp_path):
        raise RuntimeError("out of memory")

    assert len(kept) == 1
    with checkpoint_lock(tmp_path):
        pass


def test_damaged_holder_file_does_not_hide_the_refusal(
    tmp_path: Path, holder: Callable[[], subprocess.Popen[str]]
) -> None:
    holder()
    (tmp_path / "checkpoints" / HOLDER_NAME).write_text("[]", encoding="utf-8")

    with (
        pytest.raises(PreconditionError, match="in use by another run; wait"),
        checkpoint_lock(tmp_path / "checkpoints"),
    ):
        pass


def test_folder_below_a_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")

    with (
        pytest.raises(PreconditionError, match=r"cannot be written.*output\.checkpoint_dir"),
        checkpoint_lock(tmp_path / "file" / "checkpoints"),
    ):
        pass


def test_folder_on_a_read_only_disk_is_refused(mount: Callable[[str, str], Path]) -> None:
    folder = mount("disk", "ro")

    with pytest.raises(PreconditionError, match="Read-only file system"), checkpoint_lock(folder):
        pass
