"""The files of a dataset, as a configuration names them: a path, a pattern, or a list of both."""

from __future__ import annotations

import glob
import logging
from pathlib import Path
from typing import Any

from thinker.config.paths import absolute_file, file_mode, input_problem, set_value
from thinker.config.problems import KeyPath, Problem, show_key_path
from thinker.config.source import ConfigSource

log = logging.getLogger("thinker")


def resolve_dataset(source: ConfigSource, data: dict[str, Any], path: KeyPath) -> list[Problem]:
    """Put the files of the dataset at `path` into `data`: one path for one path, a list for all else.

    Files stand in the order of the list, those of a pattern sorted by name; each stands there once.

    Args:
        source: the paths as written.
        data: the same data, to be changed.
        path: a key of `paths.DATASETS`.
    """
    raw = source.get(*path)
    if isinstance(raw, str):
        named = {path: raw}
    elif isinstance(raw, list) and all(isinstance(item, str) for item in raw):
        named = {(*path, index): item for index, item in enumerate(raw)}
    else:
        return []  # absent, or of a type that `fit` refuses
    if not named:
        return [source.problem(path, "is empty; name at least one file")]
    files: list[Path] = []
    problems = []
    for place, text in named.items():
        try:
            found = _files(text, source.base_folder(place))
        except ValueError as error:
            problems.append(source.problem(place, str(error)))
            continue
        told = [input_problem(file, text) for file in found]
        problems += [source.problem(place, message) for message in told if message]
        files += found
    if not problems:
        is_single = isinstance(raw, str) and files == [absolute_file(raw, source.base_folder(path))]
        once = _each_once(files, f"{source.place(path)}: {show_key_path(path)}")
        set_value(data, path, str(once[0]) if is_single else [str(file) for file in once])
    return problems


def _files(raw: str, base: Path) -> list[Path]:
    """The files that `raw` means, whether or not they exist; a pattern means those that match.

    Raises:
        ValueError: no path can be made of it, or no file matches.
    """
    literal = absolute_file(raw, base)
    if not glob.has_magic(raw) or file_mode(literal):
        return [literal]
    start = Path(raw).expanduser()
    pattern = str(start) if start.is_absolute() else str(Path(glob.escape(str(base))) / start)
    matches = [Path(name) for name in glob.iglob(pattern, recursive=True)]  # noqa: PTH207 - leaves out hidden files
    names = sorted(match.as_posix() for match in matches if not match.is_dir())
    found = [absolute_file(name, base) for name in names]
    if not found:
        raise ValueError(f"no file matches {raw} (resolved: {base / start})")
    return found


def _each_once(files: list[Path], place: str) -> list[Path]:
    first: dict[Path, Path] = {}
    again = [file for file in files if first.setdefault(file.resolve(), file) is not file]
    if again:
        more = f" and {len(again) - 1} more" if len(again) > 1 else ""
        log.warning("%s: named more than once, read once: %s%s", place, again[0], more)
    return list(first.values())
