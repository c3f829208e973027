"""One configuration file as plain data that knows where each of its values comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from thinker.config.problems import KeyPath, Place, Problem
from thinker.config.yaml_source import YamlData, read_yaml

FileKind = Literal["pipeline", "lora", "fields"]


@dataclass
class ConfigSource:
    """A file's data, and the overrides made to it.

    Attributes:
        kind: which file this is: one of the two, or a list of schema fields by itself.
        path: the file, absolute.
        name: what messages call it.
        data: its top level; changed by overrides.
        problems: what was wrong with it as YAML.
    """

    kind: FileKind
    path: Path
    name: str
    data: dict[str, Any]
    problems: list[Problem]
    _yaml: YamlData
    _overrides: dict[KeyPath, str] = field(default_factory=dict)

    @classmethod
    def read(cls, kind: FileKind, path: Path, name: str | None = None) -> ConfigSource:
        """Read `path`; whatever is wrong with it is in `problems`."""
        shown = name or shown_path(path)
        parsed = read_yaml(path, shown)
        data = parsed.value if isinstance(parsed.value, dict) else {}
        return cls(kind, path, shown, data, parsed.problems, parsed)

    @property
    def readable(self) -> bool:
        """Whether the file was YAML with keys at all."""
        return isinstance(self._yaml.value, dict)

    def get(self, *path: str | int) -> Any:
        """The value at `path`; None where there is none."""
        value: Any = self.data
        for step in path:
            value = child_value(value, step)
        return value

    def has(self, *path: str | int) -> bool:
        """Whether the key at `path` is there, be its value null."""
        parent = self.get(*path[:-1])
        return isinstance(parent, dict) and path[-1] in parent

    def mark_override(self, path: KeyPath, label: str) -> None:
        """From now on the value at `path`, and all below it, comes from `label`."""
        self._overrides = {key: old for key, old in self._overrides.items() if key[: len(path)] != path}
        self._overrides[path] = label

    def place(self, path: KeyPath) -> Place:
        """Where the value at `path` stands, or else the key, or the section nearest above."""
        return self._place(path, self._yaml.values)

    def key_place(self, path: KeyPath) -> Place:
        """Where the key at `path` stands, or else the section nearest above."""
        return self._place(path, self._yaml.keys)

    def base_folder(self, path: KeyPath) -> Path:
        """The folder from which a relative path at `path` starts: the file's, or for an override the current one."""
        return Path.cwd() if self._override_of(path) else self.path.parent

    def problem(self, path: KeyPath, message: str) -> Problem:
        """A problem with the value at `path`."""
        return Problem(self.place(path), message, path)

    def _override_of(self, path: KeyPath) -> str | None:
        labels = (self._overrides.get(path[:length]) for length in range(len(path), 0, -1))
        return next((label for label in labels if label), None)

    def _override_that_made(self, path: KeyPath) -> str | None:
        """The override whose value lies below `path`, where the file itself has nothing at `path`."""
        if not path or path in self._yaml.keys:
            return None
        return next((label for key, label in self._overrides.items() if key[: len(path)] == path), None)

    def _place(self, path: KeyPath, positions: dict[KeyPath, tuple[int, int]]) -> Place:
        if label := self._override_of(path) or self._override_that_made(path):
            return Place(label)
        for length in range(len(path), -1, -1):
            above = path[:length]
            if position := positions.get(above) or self._yaml.keys.get(above):
                return Place(self.name, *position)
            positions = self._yaml.keys
        return Place(self.name, 1, 1)


def child_value(value: Any, step: str | int) -> Any:
    """The value under a key or index of `value`; None where there is none."""
    if isinstance(value, dict):
        return value.get(step)
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return value[step]
    return None


def shown_path(path: Path) -> str:
    """`path` relative to the current folder where it lies under it, else as it is; with forward slashes."""
    try:
        return path.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.as_posix()


def key_paths(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Every value within `value`, with the path that leads to it, outermost first."""
    yield path, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from key_paths(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from key_paths(item, (*path, index))
