"""Paths of the configuration made absolute, and the inputs among them looked for."""

from __future__ import annotations

import copy
import glob
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from thinker.config import model_types as types
from thinker.config.problems import KeyPath, Problem, show_key_path
from thinker.config.rules import Command
from thinker.config.source import ConfigSource, child_value, key_paths

_ALWAYS: Final[tuple[Command, ...]] = ("validate", "train", "eval", "run")
_EVALUATING: Final[tuple[Command, ...]] = ("eval", "run")

DATASETS: Final[tuple[KeyPath, ...]] = (("data_validation", "path"), ("data", "train_file"))
_RECORDS: Final[tuple[KeyPath, ...]] = (
    ("evaluation", "claims_file"),
    ("evaluation", "corpus_file"),
    ("evaluation", "data_file"),
)
_INPUT_FILES: Final[dict[KeyPath, tuple[Command, ...]]] = {
    ("data_validation", "schema"): _ALWAYS,
    ("training", "config_path"): _ALWAYS,
    **dict.fromkeys(_RECORDS, _EVALUATING),
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


def absolute_file(raw: str, base: Path) -> Path:
    """As `absolute`, but a file that is a link keeps its own name, whose suffix says how to read it.

    Raises:
        ValueError: no path can be made of it.
    """
    resolved = absolute(raw, base)
    named = base / Path(raw).expanduser()
    return resolved if named.name in ("", "..") else named.parent.resolve() / named.name


def with_absolute_paths(source: ConfigSource, model: type) -> tuple[dict[str, Any], list[Problem]]:
    """A copy of the source's data in which every path but a dataset's is absolute, and the paths that cannot be."""
    data = copy.deepcopy(source.data)
    problems = []
    for path, value in key_paths(source.data):
        if path[:2] in DATASETS:  # may be a pattern
            continue
        if isinstance(value, str) and Path in types.members(types.type_at(model, path)):
            make = absolute_file if path in _RECORDS else absolute
            try:
                set_value(data, path, str(make(value, source.base_folder(path))))
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
        yield from _suite_inputs(source, data)
    for path in _OUTPUT_FOLDERS:
        if (place := _path(source, data, path)) and stat.S_ISREG(file_mode(place)):
            yield source.problem(path, f"is a file, not a folder: {written(source, path, place)}")
    if (place := _path(source, data, _PREDICTIONS)) and stat.S_ISDIR(file_mode(place)):
        yield source.problem(_PREDICTIONS, f"is a folder, not a file: {written(source, _PREDICTIONS, place)}")


def overwritten_input(sources: Sequence[ConfigSource], data: Sequence[dict[str, Any]]) -> Iterator[Problem]:
    """A predictions file that would replace an input; the pipeline file comes first."""
    pipeline = sources[0]
    place = _path(pipeline, data[0], _PREDICTIONS)
    if place is None:
        return
    inputs = {source.path: "configuration" for source in sources}
    for values in data:
        inputs |= {
            file.resolve(): f"input {show_key_path(path)}"
            for path in (*_INPUT_FILES, *DATASETS)
            for file in _files(_value(values, path))
        }
    if place in inputs:
        yield pipeline.problem(_PREDICTIONS, f"would overwrite the {inputs[place]}: {place}")


def input_problem(place: Path, raw: str, *, folder_allowed: bool = False) -> str | None:
    """Why `place`, written as `raw`, cannot be read; None if it can."""
    shown = f"{raw} (resolved: {place})"
    try:
        mode = place.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return f"no such {'file or folder' if folder_allowed else 'file'}: {shown}"
    except OSError as error:
        return f"cannot be reached ({error.strerror}): {shown}"
    if stat.S_ISDIR(mode) and not folder_allowed:
        return f"is a folder, not a file: {shown}"
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        return f"is no regular file: {shown}"
    return None


def matching(place: Path) -> list[Path]:
    """What an absolute path with wildcards stands for now, sorted; a path without them, or that exists, is itself."""
    if not glob.has_magic(str(place)) or file_mode(place):
        return [place]
    return sorted(Path(place.anchor).glob(str(place.relative_to(place.anchor))))


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


def _files(value: Any) -> list[Path]:
    items = value if isinstance(value, list) else [value]
    return [Path(item) for item in items if isinstance(item, str) and item.strip()]


def _value(data: Any, path: KeyPath) -> Any:
    for step in path:
        data = child_value(data, step)
    return data


def _suite_inputs(source: ConfigSource, data: dict[str, Any]) -> Iterator[Problem]:
    inputs = source.get("tests", "inputs")
    for index in range(len(inputs) if isinstance(inputs, list) else 0):
        path: KeyPath = ("tests", "inputs", index)
        place = _path(source, data, path)
        if place is not None and not matching(place):
            yield source.problem(path, f"no file matches {written(source, path, place)}")
        elif place is not None and not glob.has_magic(str(place)):
            yield from _missing(source, data, path, folder_allowed=True)


def _missing(source: ConfigSource, data: dict[str, Any], path: KeyPath, *, folder_allowed: bool) -> Iterator[Problem]:
    place = _path(source, data, path)
    if place and (message := input_problem(place, source.get(*path), folder_allowed=folder_allowed)):
        yield source.problem(path, message)
