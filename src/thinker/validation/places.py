"""Names for the files that a gate reads: the same wherever the project lies, and the way back from name to file."""

from __future__ import annotations

import fnmatch
import os
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Final

import thinker
from thinker.hashing import digest, sha256_file
from thinker.runs.files import clean_text

# Kept by tools for themselves; what lies in them says nothing about the project.
_TOOL_FOLDERS: Final = frozenset({
    ".cache", ".eggs", ".git", ".hg", ".hypothesis", ".ipynb_checkpoints", ".mypy_cache", ".nox", ".pytest_cache",
    ".ruff_cache", ".svn", ".thinker", ".tox", ".venv", "__pycache__", "dist-packages", "node_modules", "site-packages",
})  # fmt: skip
_TOOL_FILES: Final = (".coverage", ".coverage.*", "*.pyc")
_REPOSITORY: Final = (".git", ".hg", ".svn")


class Places:
    """The folders in which a file counts as the project's, and the names of files in them.

    Below the project's root (the repository of the pipeline file, else its folder) a name is the path from the
    pipeline file's folder: `data/train.jsonl`, `../conftest.py`. Elsewhere it is the key that names the folder and the
    path from there: `evaluation.claims_file:claims.jsonl`. So moving either changes no name.

    Attributes:
        root: the project's root.

    Args:
        config_path: the pipeline file.
        further: key → folder, for what the configuration names outside the root.
        left_out: files and folders that are never the project's: where Thinker writes.
    """

    def __init__(
        self, config_path: Path, further: Mapping[str, Path] | None = None, left_out: Iterable[Path] = ()
    ) -> None:
        self._folder = config_path.parent
        self.root = project_root(self._folder)
        self._further = {key: folder for key, folder in (further or {}).items() if folder != Path(folder.anchor)}
        elsewhere = (*left_out, Path(thinker.__file__).parent, *python_folders())
        # What holds the whole project (`python -m venv .`) cannot be left out of it.
        self._left_out = [place for place in elsewhere if not self._folder.is_relative_to(place)]

    def name(self, path: Path, key: str) -> str:
        """The name of a file that the configuration's `key` names, or that lies in the folder which it names."""
        if path.is_relative_to(self.root):
            return clean_text(Path(os.path.relpath(path, self._folder)).as_posix())
        base = self._further.get(key)
        if path == base:
            return f"{key} (outside the project)"
        inside = path.relative_to(base) if base and path.is_relative_to(base) else path
        return clean_text(f"{key}:{inside.as_posix()}")

    def name_if_ours(self, path: Path) -> str | None:
        """The name of a file that something was seen to read; None if it is not the project's."""
        for place in (path, Path(os.path.realpath(path))):
            key = self._base_of(place)
            if key is not None:
                return None if self.is_left_out(place) else self.name(place, key)
        return None

    def path(self, name: str) -> Path:
        """The file or folder that `name` stands for."""
        key, separator, inside = name.partition(":")
        if separator and key in self._further:
            return self._further[key] / inside
        return Path(os.path.normpath(self._folder / name))

    def is_left_out(self, path: Path) -> bool:
        """Whether a file or folder belongs to a tool, to Thinker or to Python rather than to the project."""
        key = self._base_of(path)
        base = self._further.get(key, self.root) if key is not None else path.anchor
        parts = path.relative_to(base).parts
        return (
            not _TOOL_FOLDERS.isdisjoint(parts)
            or any(fnmatch.fnmatchcase(path.name, pattern) for pattern in _TOOL_FILES)
            or any(path.is_relative_to(place) for place in self._left_out)
        )

    def _base_of(self, path: Path) -> str | None:
        """The key of the folder in which `path` lies, empty for the root; None if it lies in none of them."""
        # "/" as root would make the whole machine the project.
        if path.is_relative_to(self.root) and self.root != Path(self.root.anchor):
            return ""
        return next((key for key, folder in self._further.items() if path.is_relative_to(folder)), None)

    def content(self, name: str) -> str | None:
        """What the digest has for `name`: a file's SHA-256, or that of the names in a folder; None if not there."""
        path = self.path(name)
        try:
            return self._listing(path) if name.endswith("/") else sha256_file(path)
        except OSError:
            return None

    def _listing(self, folder: Path) -> str:
        entries = [entry for entry in folder.iterdir() if not self.is_left_out(entry)]
        return digest(sorted(clean_text(entry.name) for entry in entries if not _is_hidden_folder(entry)))


def project_root(folder: Path) -> Path:
    """The top of the repository that holds `folder`; `folder` itself where there is none."""
    for place in (folder, *folder.parents):
        if any((place / name).exists() for name in _REPOSITORY):
            return place
    return folder


@cache
def python_folders() -> tuple[Path, ...]:
    """Where Python's own modules and installed packages lie."""
    paths = sysconfig.get_paths()
    found = {Path(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    if sys.prefix != sys.base_prefix:
        found.add(Path(sys.prefix))
    # The longest first: what lies in `site-packages` has its package's name at the start of the rest.
    return tuple(sorted({*found, *(path.resolve() for path in found)}, key=lambda path: (-len(path.parts), path)))


def folder_of(path: Path) -> Path:
    """A folder itself, a file's folder, and for what is not there the one that it would lie in."""
    return path if path.is_dir() else path.parent


def hash_of(path: Path) -> str | None:
    """A file's SHA-256; None where there is no file.

    Raises:
        OSError: it cannot be read.
    """
    return sha256_file(path) if path.is_file() else None


def _is_hidden_folder(path: Path) -> bool:
    return path.name.startswith(".") and path.is_dir()
