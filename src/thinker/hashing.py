"""SHA-256 of files, folders and values: what every digest, receipt and record is made of."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

SKIPPED: Final = frozenset({"__pycache__", ".pytest_cache", "*.pyc"})

# A file touched this recently may change again without its time stamp moving, so its hash is not kept.
_SETTLED_AFTER_S: Final = 2.0
_EXACT_INTEGERS_BELOW: Final = 2**53

Signature = tuple[str, int, int, int, int, int]
_known_hashes: dict[Signature, str] = {}


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex; a file that has not changed since is not read again by this process.

    Raises:
        OSError: the file cannot be read.
    """
    before = signature(path)
    if known := _known_hashes.get(before):
        return known
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    changed_s = max(before[4], before[5]) / 1e9
    if signature(path) == before and time.time() - changed_s > _SETTLED_AFTER_S:
        _known_hashes[before] = sha256
    return sha256


def signature(path: Path) -> Signature:
    """What changes when a file does: its name, place on the disk, size and times.

    Raises:
        OSError: there is no such file.
    """
    status = path.stat()
    return (str(path), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def tree_hashes(
    folder: Path, *, skip: Collection[str] = SKIPPED, left_out: Callable[[Path], bool] | None = None
) -> dict[str, str]:
    """SHA-256 of every file under `folder`, by posix name relative to it, sorted.

    Folders whose name starts with a dot are left out. Links are followed, but not back to a folder above them.

    Args:
        folder: the folder.
        skip: names of files and folders left out at any depth; may hold `*`, `?` and `[…]` as in `fnmatch`.
        left_out: whether a file or folder is left out for its place.

    Raises:
        OSError: a file or folder cannot be read.
    """
    found: dict[str, str] = {}

    def is_skipped(entry: Path) -> bool:
        named = any(fnmatch.fnmatchcase(entry.name, pattern) for pattern in skip)
        return named or (left_out is not None and left_out(entry))

    _add_tree(folder, "", frozenset(), is_skipped, found)
    return dict(sorted(found.items()))


def tree_digest(folder: Path, *, skip: Collection[str] = SKIPPED) -> str:
    """Digest of the names and contents under `folder`; the folder's own name and place do not count.

    Raises:
        OSError: a file or folder cannot be read.
    """
    return digest(tree_hashes(folder, skip=skip))


def canonical_json(value: Any) -> bytes:
    """`value` as the one JSON text that stands for it: sorted keys, no spaces, UTF-8, equal numbers alike (1.0 as 1).

    Raises:
        TypeError: something in `value` is not JSON.
        ValueError: a number is NaN or infinite, or a text is not valid Unicode.
    """
    text = json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of `value`, in hex.

    Raises:
        TypeError, ValueError: as `canonical_json`.
    """
    return hashlib.sha256(canonical_json(value)).hexdigest()


def _add_tree(
    folder: Path, prefix: str, above: frozenset[str], is_skipped: Callable[[Path], bool], found: dict[str, str]
) -> None:
    place = os.path.realpath(folder)
    if place in above:
        return
    for entry in folder.iterdir():
        if is_skipped(entry):
            continue
        name = prefix + os.fsencode(entry.name).decode("utf-8", "backslashreplace")
        if entry.is_dir():
            if not entry.name.startswith("."):
                _add_tree(entry, name + "/", above | {place}, is_skipped, found)
        elif entry.is_file():
            found[name] = sha256_file(entry)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        if odd := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"key {odd[0]!r} is not text")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_INTEGERS_BELOW:
        return int(value)
    return value
