"""Intermediate checkpoints on disk: whole or not at all, whatever happens, and never taken for what they are not."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from thinker.hashing import digest
from thinker.training.hf_peft.checkpoint_manifest import MANIFEST
from thinker.training.hf_peft.checkpoints import TRAININGS, CheckpointStore, Progress

FINGERPRINT = "a" * 64


def store_in(folder: Path, *, fingerprint: str = FINGERPRINT, world_size: int = 1, limit: int | None = None,
             fresh: bool = False) -> CheckpointStore:  # fmt: skip
    """A store that has begun."""
    store = CheckpointStore(folder, fingerprint, world_size=world_size, limit=limit)
    store.begin(fresh=fresh)
    return store


def publish(store: CheckpointStore, step: int, text: str = "weights") -> Path:
    staged = store.staging / f"checkpoint-{step}"
    (staged / "sub").mkdir(parents=True)
    (staged / "adapter.bin").write_text(f"{text} of step {step}", encoding="utf-8")
    (staged / "sub/optimizer.bin").write_bytes(bytes(100))
    return store.publish(Progress(step, ended=False, seconds=1.5))


def resumed_step(folder: Path, *, fresh: bool = False) -> int | None:
    found = CheckpointStore(folder, FINGERPRINT).begin(fresh=fresh)
    return found.manifest.step if found else None


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A checkpoint folder in which steps 2 and 4 were saved; returns that of step 4."""
    store = store_in(tmp_path)
    publish(store, 2)
    return publish(store, 4)


def test_the_newest_complete_checkpoint_is_found(two: Path, tmp_path: Path) -> None:
    found = CheckpointStore(tmp_path, FINGERPRINT).begin()
    assert found is not None
    assert (found.path, found.manifest.step, found.manifest.seconds, found.manifest.ended) == (two, 4, 1.5, False)


def edit_manifest(folder: Path, **values: object) -> None:
    """Change a manifest as someone would who can compute its hash."""
    content = json.loads((folder / MANIFEST).read_text(encoding="utf-8")) | values
    del content["sha256"]
    (folder / MANIFEST).write_text(json.dumps({**content, "sha256": digest(content)}), encoding="utf-8")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "not marked": (lambda folder: (folder / MANIFEST).unlink(), "is torn: it was not marked complete"),
    "manifest cut": (
        lambda folder: os.truncate(folder / MANIFEST, 100),
        f"is damaged: {MANIFEST} cannot be read (it is no manifest of this version)",
    ),
    "manifest empty": (
        lambda folder: os.truncate(folder / MANIFEST, 0),
        f"is damaged: {MANIFEST} cannot be read (it is no manifest of this version)",
    ),
    "manifest edited": (
        lambda folder: (folder / MANIFEST).write_text(
            (folder / MANIFEST).read_text(encoding="utf-8").replace('"step": 4', '"step": 5'), encoding="utf-8"
        ),
        f"is damaged: {MANIFEST} is not as it was written",
    ),
    "flipped bit": (
        lambda folder: flip(folder / "adapter.bin"),
        "is damaged: adapter.bin has other contents than were written",
    ),
    "flipped bit below": (
        lambda folder: flip(folder / "sub/optimizer.bin"),
        "is damaged: sub/optimizer.bin has other contents than were written",
    ),
    "file cut": (
        lambda folder: os.truncate(folder / "sub/optimizer.bin", 60),
        "is damaged: sub/optimizer.bin has 60 bytes, not 100",
    ),
    "file missing": (lambda folder: (folder / "adapter.bin").unlink(), "is damaged: adapter.bin is missing"),
    "file too many": (
        lambda folder: (folder / "pytorch_model.bin").write_bytes(b"x"),
        "holds pytorch_model.bin, which its manifest does not name",
    ),
    "foreign": (
        lambda folder: edit_manifest(folder, training_fingerprint="b" * 64),
        "belongs to another training (fingerprint bbbbbbbbbbbb…, not aaaaaaaaaaaa…)",
    ),
    "other processes": (
        lambda folder: edit_manifest(folder, world_size=2),
        "was written by 2 process(es), not by 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_an_unusable_checkpoint_is_named_and_the_one_before_is_taken(
    two: Path, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    do, reason = DAMAGE[damage]
    do(two)
    assert resumed_step(tmp_path) == 2
    assert [record.message for record in caplog.records] == [f"checkpoint {two} {reason}; it is passed over"]


def test_one_that_was_passed_over_gives_way_to_its_successor(two: Path, tmp_path: Path) -> None:
    flip(two / "adapter.bin")
    store = store_in(tmp_path)
    assert publish(store, 4, "new weights") == two
    assert (two / "adapter.bin").read_text(encoding="utf-8") == "new weights of step 4"
    assert resumed_step(tmp_path) == 4


def test_files_that_no_one_loads_do_no_harm(two: Path, tmp_path: Path) -> None:
    (two / ".DS_Store").write_bytes(b"x")
    assert resumed_step(tmp_path) == 4


def test_the_newest_are_kept(tmp_path: Path) -> None:
    store = store_in(tmp_path, limit=2)
    for step in (1, 2, 3, 10):
        publish(store, step)
    assert sorted(path.name for path in store.folder.iterdir()) == ["checkpoint-10", "checkpoint-3"]


def test_the_limit_counts_no_checkpoint_of_others(two: Path, tmp_path: Path) -> None:
    (two.parent / "checkpoint-1").mkdir()
    store = store_in(tmp_path, limit=1, fresh=True)
    publish(store, 5)
    publish(store, 6)
    kept = sorted(path.name for path in store.folder.glob("checkpoint-*"))
    assert kept == ["checkpoint-1", "checkpoint-2", "checkpoint-4", "checkpoint-6"]


def test_a_fresh_start_deletes_nothing_and_nothing_resumes_from_before_it(two: Path, tmp_path: Path) -> None:
    assert resumed_step(tmp_path, fresh=True) is None
    assert {path.name for path in two.parent.glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-4"}
    assert resumed_step(tmp_path) is None, "killed before its first checkpoint, it begins anew again"
    publish(store_in(tmp_path), 1)
    assert resumed_step(tmp_path) == 1


def test_after_the_end_the_next_training_begins_anew_and_says_so(
    two: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store_in(tmp_path).finish()
    assert resumed_step(tmp_path) is None
    assert "was trained to its end here before" in caplog.text
    assert two.is_dir()


def test_a_training_that_was_interrupted_after_another_had_ended_goes_on(two: Path, tmp_path: Path) -> None:
    store_in(tmp_path).finish()
    publish(store_in(tmp_path), 1)
    assert resumed_step(tmp_path) == 1


def test_a_damaged_list_of_trainings_is_told(two: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (two.parent / TRAININGS).write_text("{", encoding="utf-8")
    assert resumed_step(tmp_path) == 4
    assert f"{two.parent / TRAININGS} cannot be read" in caplog.text


def test_what_a_crash_left_half_written_is_cleared(two: Path, tmp_path: Path) -> None:
    for name in (".writing/checkpoint-6", ".deleting/checkpoint-1"):
        (two.parent / name).mkdir(parents=True)
    resumed_step(tmp_path)
    assert {path.name for path in two.parent.iterdir()} == {"checkpoint-2", "checkpoint-4"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="dies in a child process")
def test_a_process_that_dies_at_any_moment_of_saving_leaves_a_checkpoint_to_go_on_from(tmp_path: Path) -> None:
    """The child ends without a word before its n-th change of the file system, for each n until it survives."""
    found = []
    for dies_at in range(1, 200):
        folder = tmp_path / str(dies_at)
        publish(store_in(folder), 2)
        publish(store_in(folder), 4, "old")
        store_in(folder).finish()
        publish(store_in(folder), 2, "new")
        if survived := _saved_in_a_child(folder, dies_at):
            break
        found.append(resumed_step(folder))
        again = store_in(folder, limit=1)
        assert (publish(again, 4, "new") / "adapter.bin").read_text(encoding="utf-8") == "new of step 4"
        assert resumed_step(folder) == 4
    assert survived
    assert len(found) > 8
    assert found == sorted(found), "once there, a checkpoint stays"
    assert set(found) == {2, 4}


def _saved_in_a_child(folder: Path, dies_at: int) -> bool:
    """Save step 4 anew; whether the child lived to the end."""
    store = CheckpointStore(folder, FINGERPRINT, limit=1)
    assert store.begin() is not None
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    changes = 0

    def die(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal changes
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        changes += bool(writes) or event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir")
        if changes >= dies_at:
            os._exit(1)

    try:
        sys.addaudithook(die)
        publish(store, 4, "new")
        os._exit(0)
    finally:
        os._exit(2)
