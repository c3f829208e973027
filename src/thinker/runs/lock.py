"""Keeps two runs out of one checkpoint folder."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from thinker.errors import PreconditionError

log = logging.getLogger("thinker")

LOCK_NAME: Final = ".thinker.lock"
# Windows lets no one read a locked file, so the holder's name stands in one of its own.
HOLDER_NAME: Final = ".thinker.lock.holder.json"


@contextlib.contextmanager
def checkpoint_lock(folder: Path) -> Iterator[None]:
    """Hold `folder` (made if absent) for this process alone; the operating system lets go of it when the process ends.

    Raises:
        PreconditionError: another run holds it, or it cannot be written.
    """
    import filelock

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / LOCK_NAME, timeout=0)
        lock.acquire()
    except filelock.Timeout as error:
        raise PreconditionError(
            f"checkpoint folder {folder} is in use by another run{_describe_holder(folder)}; "
            "wait until it ends, or give this run its own output.checkpoint_dir"
        ) from error
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PreconditionError(
            f"checkpoint folder {folder} cannot be written and locked: {reason}; "
            "choose another with output.checkpoint_dir"
        ) from error
    try:
        _write_holder(folder)
        yield
    finally:
        with contextlib.suppress(OSError):  # a holder's name left behind does no harm
            (folder / HOLDER_NAME).unlink(missing_ok=True)
        lock.release()


def _write_holder(folder: Path) -> None:
    since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    holder = {"pid": os.getpid(), "host": platform.node(), "since": since}
    try:
        (folder / HOLDER_NAME).write_text(json.dumps(holder) + "\n", encoding="utf-8")
    except OSError as error:
        log.debug("cannot write %s: %s", folder / HOLDER_NAME, error)


def _describe_holder(folder: Path) -> str:
    """` (process 12 on host, since …)`, or nothing where the holder has not written it yet."""
    try:
        holder = json.loads((folder / HOLDER_NAME).read_text(encoding="utf-8"))
        return f" (process {holder['pid']} on {holder['host']}, since {holder['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
