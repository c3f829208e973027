"""The mark of a complete checkpoint: a manifest with size and SHA-256 of every file, put in place after all of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from thinker.files import sync_folder
from thinker.hashing import digest, tree_hashes

MANIFEST: Final = "thinker-checkpoint.json"
# Written and synced while the folder still has its temporary name, so that marking is a rename, which needs no space.
_PENDING: Final = f".{MANIFEST}.pending"
_CONFIG = ConfigDict(extra="forbid")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class UnusableCheckpointError(Exception):
    """Why a checkpoint cannot be resumed from, in words that follow its name."""


@dataclass(frozen=True, config=_CONFIG)
class NamedFile:
    """A file of a checkpoint.

    Attributes:
        sha256: of its bytes.
        size_bytes: its size.
    """

    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=0)]


@dataclass(frozen=True, config=_CONFIG)
class Manifest:
    """What a checkpoint is, and what it is made of.

    Attributes:
        training_fingerprint: of the training that wrote it.
        training: id of that training; one that starts anew has another.
        step: optimizer steps done.
        world_size: processes that wrote it.
        ended: whether training had no step left: it was the last, or training stopped early.
        seconds: that the steps so far took.
        files: by posix name relative to the checkpoint.
    """

    training_fingerprint: str
    training: str
    step: Annotated[int, Field(ge=0)]
    world_size: Annotated[int, Field(ge=1)]
    ended: bool
    seconds: Annotated[float, Field(ge=0)]
    files: dict[str, NamedFile]
    format: Literal[1] = 1


_MANIFEST = TypeAdapter(Manifest)


def files_in(folder: Path) -> dict[str, NamedFile]:
    """Every file of a checkpoint but its manifest, by posix name; files whose name starts with a dot are no part of it.

    Raises:
        OSError: one cannot be read.
    """
    hashes = tree_hashes(folder, skip=(MANIFEST, ".*"))
    return {name: NamedFile(sha256, (folder / name).stat().st_size) for name, sha256 in hashes.items()}


def prepare_mark(folder: Path, manifest: Manifest) -> None:
    """Write `manifest` into `folder` under a name that marks nothing yet.

    Raises:
        OSError: as the file system says.
    """
    content = _MANIFEST.dump_python(manifest, mode="json")
    text = json.dumps({**content, "sha256": digest(content)}, indent=2, sort_keys=True) + "\n"
    with (folder / _PENDING).open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def mark_complete(folder: Path) -> None:
    """Give the manifest its name: from now on the checkpoint counts.

    Raises:
        OSError: as the file system says.
    """
    (folder / _PENDING).replace(folder / MANIFEST)
    sync_folder(folder)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a checkpoint that was marked complete.

    Raises:
        UnusableCheckpointError: there is none, or it is not as it was written.
    """
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
        sha256 = content.pop("sha256")
        if sha256 != digest(content):
            raise UnusableCheckpointError(f"is damaged: {MANIFEST} is not as it was written")
        return _MANIFEST.validate_python(content)
    except FileNotFoundError:
        raise UnusableCheckpointError("is torn: it was not marked complete") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        reason = (
            error.strerror if isinstance(error, OSError) and error.strerror else "it is no manifest of this version"
        )
        raise UnusableCheckpointError(f"is damaged: {MANIFEST} cannot be read ({reason})") from error


def require_intact(folder: Path, files: Mapping[str, NamedFile]) -> None:
    """Compare every file with what the manifest says of it; a file that it does not name could be loaded in error.

    Raises:
        UnusableCheckpointError: names the first file that is not as it was written.
    """
    for name, expected in sorted(files.items()):
        try:
            size_bytes = (folder / name).stat().st_size
        except OSError:
            raise UnusableCheckpointError(f"is damaged: {name} is missing") from None
        if size_bytes != expected.size_bytes:
            raise UnusableCheckpointError(f"is damaged: {name} has {size_bytes} bytes, not {expected.size_bytes}")
    try:
        found = files_in(folder)
    except OSError as error:
        raise UnusableCheckpointError(f"cannot be read: {error.strerror or error}") from error
    for name, file in found.items():
        if name not in files:
            raise UnusableCheckpointError(f"holds {name}, which its manifest does not name")
        if file != files[name]:
            raise UnusableCheckpointError(f"is damaged: {name} has other contents than were written")
