"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def folder_in_one_step(folder: Path) -> Iterator[Path]:
    """A new folder to fill, renamed to `folder` at the end; another process may have been faster with the same content.

    Raises:
        OSError: as the file system says; nothing is left behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.parent / f".writing-{uuid.uuid4().hex}"
    temporary.mkdir()
    try:
        yield temporary
        try:
            temporary.replace(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
