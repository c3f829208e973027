"""Paths of the configuration made absolute, and the inputs among them looked for."""

from __future__ import annotations

import copy
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from thinker.config import model_types as types
from thinker.config.problems import KeyPath, Problem
from thinker.config.rules import Command
from thinker.config.source import ConfigSource, child_value, key_paths

_ALWAYS: Final[tuple[Command, ...]] = ("validate", "train", "eval", "run")
_EVALUATING: Final[tuple[Command, ...]] = ("eval", "run")

_INPUT_FILES: Final[dict[KeyPath, tuple[Command, ...]]] = {
    ("data_validation", "path"): _ALWAYS,
    ("training", "config_path"): _ALWAYS,
    ("evaluation", "claims_file"): _EVALUATING,
    ("evaluation", "corpus_file"): _EVALUATING,
    ("evaluation", "data_file"): _EVALUATING,
    ("data", "train_file"): _ALWAYS,
}
_OUTPUT_FOLDERS: Final[tuple[KeyPath, ...]] = (
    ("runs_dir",),
    ("evaluation", "checkpoint_dir"),
    ("output", "checkpoint_dir"),
)
_TESTS: Final[KeyPath] = ("tests", "path")
_PREDICTIONS: Final[KeyPath] = ("evaluation", "output_path")


def absolute(raw: str, base: Path) -> Path:
    """`raw` from `base`, `~` expanded, links followed.

    Raises:
        ValueError: no path can be made of it.
    """
    if not raw.strip():
        raise ValueError("is empty")
    try:
        return (base / Path(raw).expanduser()).resolve()
    except (RuntimeError, OSError) as error:
        raise ValueError(f"no path: {raw} ({error})") from error


def with_absolute_paths(source: ConfigSource, model: type) -> tuple[dict[str, Any], list[Problem]]:
    """A copy of the source's data in which every path is absolute, and the paths that cannot be."""
    data = copy.deepcopy(source.data)
    problems = []
    for path, value in key_paths(source.data):
        if isinstance(value, str) and Path in types.members(types.type_at(model, path)):
            try:
                set_value(data, path, str(absolute(value, source.base_folder(path))))
            except ValueError as error:
                problems.append(source.problem(path, str(error)))
    return data, problems


def set_value(data: Any, path: KeyPath, value: Any) -> None:
    """Put `value` in the place of the one at `path`, which exists."""
    for step in path[:-1]:
        data = child_value(data, step)
    data[path[-1]] = value


def path_problems(source: ConfigSource, data: dict[str, Any], command: Command) -> Iterator[Problem]:
    """Inputs that `command` uses and that are not there, and outputs whose place is taken.

    Args:
        source: the paths as written.
        data: the same data with absolute paths.
        command: what is about to run.
    """
    for path, commands in _INPUT_FILES.items():
        if command in commands:
            yield from _missing(source, data, path, folder_allowed=False)
    if source.get("tests", "enabled") is not False:
        yield from _missing(source, data, _TESTS, folder_allowed=True)
    for path in _OUTPUT_FOLDERS:
        if (place := _path(source, data, path)) and stat.S_ISREG(file_mode(place)):
            yield source.problem(path, f"is a file, not a folder: {written(source, path, place)}")
    if (place := _path(source, data, _PREDICTIONS)) and stat.S_ISDIR(file_mode(place)):
        yield source.problem(_PREDICTIONS, f"is a folder, not a file: {written(source, _PREDICTIONS, place)}")


def overwritten_input(sources: tuple[ConfigSource, ...], data: tuple[dict[str, Any], ...]) -> Iterator[Problem]:
    """A predictions file that would replace an input."""
    pipeline = sources[0]
    place = _path(pipeline, data[0], _PREDICTIONS)
    if place is None:
        return
    inputs = {source.path: "configuration" for source in sources}
    for source, values in zip(sources, data, strict=True):
        inputs |= {
            file: f"input {'.'.join(map(str, path))}" for path in _INPUT_FILES if (file := _path(source, values, path))
        }
    if place in inputs:
        yield pipeline.problem(_PREDICTIONS, f"would overwrite the {inputs[place]}: {place}")


def file_mode(place: Path) -> int:
    """The mode of what is at `place`; 0 where nothing is, or nothing that can be reached."""
    try:
        return place.stat().st_mode
    except OSError:
        return 0


def written(source: ConfigSource, path: KeyPath, place: Path) -> str:
    """A path as the file has it, and what became of it."""
    return f"{source.get(*path)} (resolved: {place})"


def _path(source: ConfigSource, data: dict[str, Any], path: KeyPath) -> Path | None:
    raw, value = source.get(*path), _value(data, path)
    return Path(value) if isinstance(raw, str) and raw.strip() and isinstance(value, str) else None


def _value(data: Any, path: KeyPath) -> Any:
    for step in path:
        data = child_value(data, step)
    return data


def _missing(source: ConfigSource, data: dict[str, Any], path: KeyPath, *, folder_allowed: bool) -> Iterator[Problem]:
    place = _path(source, data, path)
    if place is None:
        return
    shown = written(source, path, place)
    wanted = "file or folder" if folder_allowed else "file"
    try:
        mode = place.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        yield source.problem(path, f"no such {wanted}: {shown}")
    except OSError as error:
        yield source.problem(path, f"cannot be reached ({error.strerror}): {shown}")
    else:
        if stat.S_ISDIR(mode) and not folder_allowed:
            yield source.problem(path, f"is a folder, not a file: {shown}")
        elif not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            yield source.problem(path, f"is no regular file: {shown}")
