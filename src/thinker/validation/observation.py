"""What the test suite reads, seen by an audit hook that is switched on while the suite runs.

Python announces each file that it opens, each folder that it lists and each import to audit hooks
(https://docs.python.org/3/library/audit_events.html). Not seen: what other programs read (pytest-xdist's workers among
them), files that a C library opens by itself (pyarrow, DuckDB), and whether a file exists. Such files are for
`tests.inputs` to name.
"""

from __future__ import annotations

import contextlib
import os
import sys
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from thinker.hashing import Signature, signature
from thinker.validation.places import python_folders

# In the mode of `open`: whatever the file held is gone.
_NEW_FILE: Final = frozenset("wx")
# For `dir_fd`: a name is meant from the current folder.
_NO_FOLDER: Final = -1
_PROGRAMS: Final = frozenset({"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile",
                              "os.system", "subprocess.Popen"})  # fmt: skip
_NOT_A_PACKAGE: Final = frozenset({"site-packages", "dist-packages", "__pycache__"})
_LISTS_FOR_OTHERS: Final = frozenset({"glob", "os", "pathlib", "pathlib._local", "shutil"})
# They list folders of the path, or of the suite, whatever the tests do.
_LISTS_ANYWAY: Final = ("_frozen_importlib", "_pytest", "coverage", "importlib", "pkgutil")


@dataclass
class Observation:
    """What was seen; every path is absolute.

    Attributes:
        read: file → its signature when it was first opened; None where it was not there.
        listed: folders whose entries were asked for.
        written: files that were first touched by being made anew, moved or removed: the suite's own.
        packages: top-level names of installed packages whose code was read.
        started_programs: whether other programs were started, whose reading is not seen.
    """

    read: dict[Path, Signature | None] = field(default_factory=dict)
    listed: set[Path] = field(default_factory=set)
    written: set[Path] = field(default_factory=set)
    packages: set[str] = field(default_factory=set)
    started_programs: bool = False

    def changed(self) -> list[Path]:
        """Files read that are no longer as they were when first opened."""
        return [path for path, before in sorted(self.read.items()) if _signature(path) != before]


@contextlib.contextmanager
def observed() -> Iterator[Observation]:
    """Observe this process, all its threads, until the block ends; blocks may be nested."""
    global _watching
    _install()
    watcher = _Watcher()
    _watching = (*_watching, watcher)
    try:
        yield watcher.seen
    finally:
        _watching = tuple(other for other in _watching if other is not watcher)
        watcher.add_loaded_modules()


class _Watcher:
    """Files events under what they mean. Called from any thread, so each step is one operation on a dict or set."""

    def __init__(self) -> None:
        self.seen = Observation()
        self._libraries = tuple(f"{folder}{os.sep}" for folder in python_folders())
        self._met: set[str] = set()

    def notice(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take note of one event. What is relative to an open folder (`dir_fd`) cannot be placed, and is left."""
        if event == "open":
            self._opened(*arguments)
        elif event == "sqlite3.connect":
            self._read(_absolute(_database_file(arguments[0])))
        elif event in ("os.listdir", "os.scandir"):
            self._listed(arguments[0])
        elif event in ("os.rename", "os.link") and arguments[3] == _NO_FOLDER:
            self._written(_absolute(arguments[1]))
        elif event == "os.remove" and arguments[1] == _NO_FOLDER:
            self._written(_absolute(arguments[0]))
        elif event in _PROGRAMS:
            self.seen.started_programs = True

    def add_loaded_modules(self) -> None:
        """Modules loaded before count as read: the suite may have used them without opening their files."""
        for name, module in list(sys.modules.items()):
            place = _absolute(getattr(module, "__file__", None))
            if place is not None and name != "__main__" and self._inside_library(place) is None:
                self._read(place)

    def _opened(self, path: object, mode: object, flags: object) -> None:
        if mode in ("r", "rb") and isinstance(path, str):
            # A suite may open a file thousands of times; the first time tells all.
            if path in self._met:
                return
            if Path(path).is_absolute():
                self._met.add(path)
        place = _absolute(path)
        if place is None:
            return
        if isinstance(mode, str):
            is_new, is_read = not _NEW_FILE.isdisjoint(mode), "a" not in mode
        else:  # `os.open`, whose name may be relative to an open folder: then it is not known which file is meant
            is_new, is_read = False, isinstance(flags, int) and _reads(flags) and place.exists()
        if is_new:
            self._written(place)
        elif is_read:
            self._read(place)

    def _read(self, place: Path | None) -> None:
        if place is None:
            return
        if (inside := self._inside_library(place)) is not None:
            self._add_package(inside)
            return
        place = _source_of(place)
        if place not in self.seen.written and place not in self.seen.read and not place.is_dir():
            self.seen.read.setdefault(place, _signature(place))

    def _written(self, place: Path | None) -> None:
        if place is not None and self.seen.read.get(place) is None:  # not read before, or not there to be read
            self.seen.written.add(place)
            self.seen.read.pop(place, None)

    def _listed(self, path: object) -> None:
        caller = sys._getframe(2).f_back  # above this, `notice` and the hook
        while caller is not None and caller.f_globals.get("__name__") in _LISTS_FOR_OTHERS:
            caller = caller.f_back
        asked_by = str(caller.f_globals.get("__name__")) if caller else ""
        place = _absolute("." if path is None else path)
        if place is not None and not asked_by.startswith(_LISTS_ANYWAY):
            self.seen.listed.add(place)

    def _inside_library(self, place: Path) -> str | None:
        """The path of a file of Python's, or of an installed package's, from the folder of them all."""
        text = str(place)
        return next((text[len(folder) :] for folder in self._libraries if text.startswith(folder)), None)

    def _add_package(self, inside: str) -> None:
        parts = [part for part in Path(inside).parts if part not in _NOT_A_PACKAGE]
        if parts and not parts[0].endswith((".dist-info", ".egg-info", ".pth")):
            self.seen.packages.add(parts[0].partition(".")[0])


_watching: tuple[_Watcher, ...] = ()
_is_installed = False


def _install() -> None:
    """Add the hook, which nothing can take away again, on first use."""
    global _is_installed
    if not _is_installed:
        _is_installed = True
        sys.addaudithook(_hook)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    for watcher in _watching:
        watcher.notice(event, arguments)


def _reads(flags: int) -> bool:
    return flags & (os.O_WRONLY | os.O_RDWR) != os.O_WRONLY and not flags & os.O_TRUNC


def _database_file(database: object) -> object:
    if isinstance(database, str) and database.startswith("file:"):
        return urllib.parse.unquote(urllib.parse.urlsplit(database).path)
    return None if database in (":memory:", "", b":memory:", b"") else database


def _absolute(path: object) -> Path | None:
    """Where `path` leads from the current folder; None for a descriptor, or where there is no current folder."""
    if not isinstance(path, str | bytes | os.PathLike):
        return None
    try:
        return Path(os.path.normpath(Path(os.fsdecode(path)).absolute()))
    except (OSError, ValueError, TypeError):
        return None


def _source_of(place: Path) -> Path:
    """The module that a `.pyc` file was compiled from; any other file is itself."""
    if place.suffix != ".pyc":
        return place
    folder = place.parent
    if sys.pycache_prefix and folder.is_relative_to(sys.pycache_prefix):
        folder = Path(folder.anchor) / folder.relative_to(sys.pycache_prefix)
    elif folder.name == "__pycache__":
        folder = folder.parent
    # `module.cpython-311.pyc`, and `module.cpython-311-pytest-9.2.0.pyc`
    return folder / f"{place.name.partition('.')[0]}.py"


def _signature(place: Path) -> Signature | None:
    try:
        return signature(place)
    except (OSError, ValueError):
        return None
