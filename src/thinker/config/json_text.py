"""A JSON text read strictly, with the line and column of every value: what is wrong with it can be pointed at."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from thinker.config.problems import KeyPath, Place, Problem

_WHITE_SPACE: Final = re.compile(r"[ \t\r\n]*")
_DECODER: Final = json.JSONDecoder()


@dataclass
class JsonText:
    """What a JSON text says.

    Attributes:
        name: what messages call it.
        value: None where the text could not be read.
        problems: why it could not, or cannot be trusted.
    """

    name: str
    text: str
    value: Any = None
    problems: list[Problem] = field(default_factory=list)
    _offsets: dict[KeyPath, int] = field(default_factory=dict)

    def place(self, path: KeyPath) -> Place:
        """Where the value at `path` begins, or else the one nearest above."""
        while path and path not in self._offsets:
            path = path[:-1]
        return self._place_at(self._offsets.get(path, 0))

    def problem(self, path: KeyPath, message: str) -> Problem:
        """A problem with the value at `path`."""
        return Problem(self.place(path), message, path)

    @property
    def paths(self) -> tuple[KeyPath, ...]:
        """Of all values, in the order of the text."""
        return tuple(self._offsets)

    def _place_at(self, offset: int) -> Place:
        start = self.text.rfind("\n", 0, offset) + 1
        return Place(self.name, self.text.count("\n", 0, start) + 1, offset - start + 1)

    def _walk(self, at: int, path: KeyPath) -> int:
        """Note where the value at the offset `at` and all within it begin; returns where it ends. The text is valid."""
        self._offsets[path] = at
        if self.text[at] not in "{[":
            end: int = _DECODER.raw_decode(self.text, at)[1]
            return end
        is_object, count = self.text[at] == "{", 0
        at = self._skip(at + 1)
        while self.text[at] not in "}]":
            step: str | int = count
            if is_object:
                step, at = _DECODER.raw_decode(self.text, at)
                at = self._skip(self._skip(at) + 1)
                if (*path, step) in self._offsets:
                    self.problems.append(Problem(self._place_at(at), "a key that is already there", (*path, step)))
            at = self._skip(self._walk(at, (*path, step)))
            at = self._skip(at + 1) if self.text[at] == "," else at
            count += 1
        return at + 1

    def _skip(self, at: int) -> int:
        match = _WHITE_SPACE.match(self.text, at)
        assert match is not None, "nothing is enough"
        return match.end()


def parse_json(content: bytes, name: str) -> JsonText:
    """Read a JSON text in UTF-8; `name` is what messages call it."""
    found = JsonText(name, content.decode("utf-8-sig", "replace"))
    try:
        content.decode("utf-8-sig").encode()
        found.value = json.loads(found.text, parse_constant=_no_constant, parse_float=_finite)
        found._walk(found._skip(0), ())
    except UnicodeDecodeError as error:
        found.problems.append(Problem(Place(name), f"not UTF-8: byte {error.start + 1}: {error.reason}"))
    except json.JSONDecodeError as error:
        what = error.msg[:1].lower() + error.msg[1:]
        found.problems.append(Problem(found._place_at(error.pos), f"bad JSON: {what}"))
    except RecursionError:
        found.problems.append(Problem(Place(name), "bad JSON: nested too deeply"))
    except ValueError as error:
        found.problems.append(Problem(Place(name), f"bad JSON: {error}"))
    return found


def _no_constant(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is not a JSON number")


def _finite(literal: str) -> float:
    if not math.isfinite(float(literal)):
        raise ValueError(f"the number {literal} is too large")
    return float(literal)
