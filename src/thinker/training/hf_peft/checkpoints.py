"""The intermediate checkpoints of one training fingerprint: written whole or not at all, and found again after a crash.

    <checkpoint_dir>/steps/<training_fingerprint[:16]>/
        checkpoint-<step>/   complete once it holds its manifest
        trainings.json       ids of trainings that are over, from whose checkpoints nothing resumes
        .writing, .deleting  left by a crash at most; cleared at the next start

Only one process at a time may use a store: whoever holds the checkpoint folder's lock, and of several processes that
train together the first.
"""

from __future__ import annotations

import errno
import json
import logging
import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from thinker.files import sync_folder, sync_tree, write_atomically
from thinker.training.hf_peft.checkpoint_manifest import (
    Manifest,
    UnusableCheckpointError,
    files_in,
    mark_complete,
    prepare_mark,
    read_manifest,
    require_intact,
)

log = logging.getLogger("thinker")

TRAININGS: Final = "trainings.json"
_WRITING, _DELETING = ".writing", ".deleting"
_NAME = re.compile(r"checkpoint-(\d+)")
_PREFIX_LENGTH = 16

HowItEnded = Literal["finished", "set aside"]


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint whose files are as they were written.

    Attributes:
        path: its folder.
        manifest: what it says of itself.
    """

    path: Path
    manifest: Manifest


@dataclass(frozen=True)
class Progress:
    """How far a training is when a checkpoint is written; as in `Manifest`."""

    step: int
    ended: bool
    seconds: float


class CheckpointStore:
    """Where one training writes its checkpoints and finds them again.

    Args:
        checkpoint_dir: the adapter's folder.
        fingerprint: of the training.
        world_size: processes that train together.
        limit: keep the newest so many checkpoints of this training; None keeps all.

    Attributes:
        folder: where the checkpoints lie.
        staging: where the next one is to be written, under its own name.
    """

    def __init__(
        self, checkpoint_dir: Path, fingerprint: str, *, world_size: int = 1, limit: int | None = None
    ) -> None:
        self.folder = checkpoint_dir / "steps" / fingerprint[:_PREFIX_LENGTH]
        self.staging = self.folder / _WRITING
        self._fingerprint, self._world_size, self._limit = fingerprint, world_size, limit
        self._training = ""

    def begin(self, *, fresh: bool = False) -> Checkpoint | None:
        """Clear what a crash left half done, and find the checkpoint to go on from; None where training starts anew.

        Each newer checkpoint that cannot be used is named in a warning and passed over.

        Args:
            fresh: start anew, and let nothing resume from the checkpoints of before any more; none is deleted.
        """
        self.clear()
        if fresh:
            self._close_all()
        over = self._over()
        resumed = None if fresh else next(self._usable(over), None)
        self._training = resumed.manifest.training if resumed else uuid.uuid4().hex
        if resumed is None and "finished" in over.values() and not fresh:
            log.info("this recipe was trained to its end here before (%s): training it anew from step 0", self.folder)
        return resumed

    def clear(self) -> None:
        """Delete what a crash or an error left half written or half deleted."""
        for name in (_WRITING, _DELETING):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def publish(self, progress: Progress) -> Path:
        """Sync the checkpoint in `staging`, move it into place, mark it complete, and delete those beyond the limit.

        One of the same step that lies there from before gives way: it was passed over, or its training is over.

        Raises:
            OSError: it cannot be written; what lay in its place is then back again.
        """
        name = f"checkpoint-{progress.step}"
        staged, place, old = self.staging / name, self.folder / name, self.folder / _DELETING / name
        sync_tree(staged)
        manifest = Manifest(
            training_fingerprint=self._fingerprint, training=self._training, step=progress.step,
            world_size=self._world_size, ended=progress.ended, seconds=progress.seconds,
            files=files_in(staged),
        )  # fmt: skip
        prepare_mark(staged, manifest)
        if place.exists():
            old.parent.mkdir(exist_ok=True)
            place.replace(old)
        try:
            staged.replace(place)
        except BaseException:
            if old.exists():
                old.replace(place)
            raise
        sync_folder(self.folder)
        mark_complete(place)
        self._rotate(progress.step)
        self.clear()
        return place

    def finish(self) -> None:
        """Note that this training is over and its adapter saved: the next one of the recipe starts anew."""
        self._note_over({self._training: "finished"})

    def _usable(self, over: dict[str, HowItEnded]) -> Iterator[Checkpoint]:
        for _, path in sorted(self._all(), reverse=True):
            try:
                manifest = read_manifest(path)
                if manifest.training in over:
                    continue
                self._require_own(manifest)
                require_intact(path, manifest.files)
                yield Checkpoint(path, manifest)
            except UnusableCheckpointError as reason:
                log.warning("checkpoint %s %s; it is passed over", path, reason)

    def _require_own(self, manifest: Manifest) -> None:
        if manifest.training_fingerprint != self._fingerprint:
            other = manifest.training_fingerprint[:12]
            raise UnusableCheckpointError(
                f"belongs to another training (fingerprint {other}…, not {self._fingerprint[:12]}…)"
            )
        if manifest.world_size != self._world_size:
            count = f"{manifest.world_size} process(es), not by {self._world_size}"
            raise UnusableCheckpointError(f"was written by {count}")

    def _rotate(self, newest: int) -> None:
        """Delete the oldest checkpoints of this training; a crash leaves none that is half there under its name."""
        if self._limit is None:
            return
        deleted = self.folder / _DELETING
        own = [path for step, path in sorted(self._all()) if step <= newest and self._id_of(path) == self._training]
        for path in own[: -self._limit]:
            deleted.mkdir(exist_ok=True)
            path.replace(deleted / path.name)

    def _all(self) -> Iterator[tuple[int, Path]]:
        """Step and folder of every checkpoint, complete or not."""
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if (match := _NAME.fullmatch(path.name)) and path.is_dir():
                    yield int(match[1]), path

    def _id_of(self, checkpoint: Path) -> str | None:
        try:
            return read_manifest(checkpoint).training
        except UnusableCheckpointError:
            return None

    def _close_all(self) -> None:
        found = {self._id_of(path) for _, path in self._all()} - {None} - self._over().keys()
        if found:
            log.info("starting anew: the checkpoints in %s stay, but nothing resumes from them", self.folder)
            self._note_over({str(training): "set aside" for training in found})

    def _over(self) -> dict[str, HowItEnded]:
        """Ids of the trainings that are over, with how they ended."""
        path = self.folder / TRAININGS
        try:
            found = json.loads(path.read_bytes())["over"]
            return {str(training): how for training, how in found.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning(
                "%s cannot be read (%s): a training that is over may be resumed; --fresh starts anew",
                path, error,
            )  # fmt: skip
            return {}

    def _note_over(self, trainings: dict[str, HowItEnded]) -> None:
        """Add to the list, and leave out who has no checkpoint left.

        A disk too full for it does no harm: training would go on from the last checkpoint, to the same adapter.
        """
        there = {self._id_of(path) for _, path in self._all()}
        over = {training: how for training, how in {**self._over(), **trainings}.items() if training in there}
        try:
            if over:
                write_atomically(self.folder / TRAININGS, json.dumps({"over": over}, indent=2, sort_keys=True) + "\n")
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            log.warning("%s cannot be written: %s", self.folder / TRAININGS, error.strerror)
