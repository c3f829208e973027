"""What is wrong with a configuration, and where: one line for each thing to mend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from thinker.errors import ConfigError
from thinker.secrets import mask

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, order=True)
class Place:
    """A place in a file, or (`line` 0) something that has no lines: a whole file, a command-line option."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True)
class Problem:
    """One thing to mend. `key_path` is empty where no key is concerned."""

    place: Place
    message: str
    key_path: KeyPath = ()

    def __str__(self) -> str:
        key = f"{show_key_path(self.key_path)}: " if self.key_path else ""
        line = " ".join(f"{self.place}: {key}{self.message}".split())
        return mask("".join(one if one.isprintable() else repr(one)[1:-1] for one in line))


def show_key_path(path: KeyPath) -> str:
    """`path` as a reader would write it: `data_validation.schema[0].type`."""
    shown = ""
    for step in path:
        if isinstance(step, int):
            shown += f"[{step}]"
        else:
            shown += f".{step}" if shown else step
    return shown


def config_error(problems: Sequence[Problem]) -> ConfigError:
    """The error that tells all `problems`, those of one source together and from top to bottom."""
    sources = list(dict.fromkeys(problem.place.source for problem in problems))
    in_order = sorted(problems, key=lambda p: (sources.index(p.place.source), p.place.line, p.place.column))
    lines = tuple(dict.fromkeys(str(problem) for problem in in_order))
    return ConfigError("\n".join(lines), lines)
