"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from thinker.errors import PreconditionError


@contextlib.contextmanager
def folder_in_one_step(folder: Path) -> Iterator[Path]:
    """A new folder of the cache to fill, renamed to `folder` at the end; another process may have been faster with it.

    Raises:
        PreconditionError: it cannot be written; nothing is left behind.
    """
    temporary = folder.parent / f".writing-{uuid.uuid4().hex}"
    try:
        temporary.mkdir(parents=True)
        yield temporary
        try:
            temporary.replace(folder)
        except OSError:
            if not folder.is_dir():
                raise
    except OSError as error:
        raise PreconditionError(
            f"cannot write to the cache {folder.parent}: {os.strerror(error.errno) if error.errno else error}; "
            "make room, or name another folder in the environment variable THINKER_CACHE_DIR"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def cache_dir(config_path: Path) -> Path:
    """Where the cache of a pipeline file lies: `.thinker/cache` beside it, or THINKER_CACHE_DIR."""
    configured = os.environ.get("THINKER_CACHE_DIR")
    return Path(configured) if configured else config_path.parent / ".thinker" / "cache"


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` by `text`, as `file_in_one_step`.

    Raises:
        OSError: as the file system says; the old file is then untouched.
    """
    with file_in_one_step(path) as stream:
        stream.write(text)


@contextlib.contextmanager
def file_in_one_step(path: Path) -> Iterator[TextIO]:
    """A text file to write in the place of `path`: a reader, or a crash, finds the old file or the new one, whole.

    Raises:
        OSError: as the file system says; the old file is then untouched.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the space that half a file takes is needed now
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_tree(folder: Path) -> None:
    """Bring every file and folder under `folder` to the disk, and `folder` itself.

    Raises:
        OSError: one cannot be written.
    """
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            with Path(place, name).open("rb+") as file:
                os.fsync(file.fileno())
        sync_folder(Path(place))


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` outlive a power cut, where the platform can (Windows cannot open a folder)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
