"""A problem of a dataset, and a log of any number of them in bounded memory."""

from __future__ import annotations

import heapq
import itertools
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import IO, Any, Final, Literal

from thinker.errors import DataError
from thinker.secrets import mask

EXCERPT_CHARACTERS: Final = 60
_FIELD_CHARACTERS: Final = 120
_MESSAGE_CHARACTERS: Final = 300
_ITEMS_SHOWN: Final = 5
_LEVELS_SHOWN: Final = 2
_BITS_SHOWN: Final = 256


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a dataset.

    Attributes:
        code: stable, of `thinker.validation.codes`.
        file: the dataset's path.
        line: from 1; None where the file as a whole is meant.
        field: path of the value (`metadata.claim_id`, `tags[2]`); empty where the row as a whole is meant.
        rule: the code's short name.
        excerpt: the value, or the place in the line, in at most 60 characters, secrets masked.
    """

    code: str
    level: Literal["error", "warn"]
    file: str
    line: int | None
    field: str
    rule: str
    message: str
    excerpt: str = ""

    def __str__(self) -> str:
        place = PurePath(self.file).name + (f":{self.line}" if self.line else "")
        level = "warning: " if self.level == "warn" else ""
        field = f"{self.field}: " if self.field else ""
        return f"{place}: {level}{field}{self.message} ({self.code})"


class ProblemLog:
    """Problems in the order they were found: the first `keep` in memory, the others in a temporary file.

    Iterates as often as wanted; `len()` is exact.

    Raises:
        DataError: the temporary file cannot be written or read.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._kept: list[Problem] = []
        self._count = 0
        self._spill: IO[bytes] | None = None

    def append(self, problem: Problem) -> None:
        """Add `problem` at the end."""
        self._count += 1
        if len(self._kept) < self._keep:
            self._kept.append(problem)
        else:
            self._write(json.dumps(list(vars(problem).values())).encode() + b"\n")

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Problem]:
        yield from self._kept
        if self._spill is None:
            return
        # Each iteration keeps its own place, so that several can take turns.
        place = 0
        for _ in range(self._count - len(self._kept)):
            self._spill.seek(place)
            line = self._spill.readline()
            place += len(line)
            yield Problem(*json.loads(line))

    def _write(self, line: bytes) -> None:
        try:
            if self._spill is None:
                self._spill = tempfile.TemporaryFile(prefix="thinker-problems-")  # noqa: SIM115 - lives as long as the log
            self._spill.seek(0, 2)
            self._spill.write(line)
            self._spill.flush()
        except OSError as error:
            where = tempfile.gettempdir()
            raise DataError(
                f"problem {self._count} of the dataset cannot be kept in {where}: {error.strerror}; "
                "make room there or set TMPDIR to another folder"
            ) from error


class MergedProblems:
    """The problems of several passes over the same files as one log, in file order; those without a line come last."""

    def __init__(self, files: Sequence[str], *logs: ProblemLog) -> None:
        self._place = {file: number for number, file in enumerate(files)}
        self._logs = logs

    def __len__(self) -> int:
        return sum(map(len, self._logs))

    def __iter__(self) -> Iterator[Problem]:
        placed = ((each for each in log if each.line is not None) for log in self._logs)
        yield from heapq.merge(*placed, key=self._order)
        for log in self._logs:
            yield from (each for each in log if each.line is None)

    def _order(self, problem: Problem) -> tuple[int, int]:
        return self._place.get(problem.file, len(self._place)), problem.line or 0


def clean_field(path: str) -> str:
    """`path` as it can be printed: keys of a dataset may hold anything."""
    return _clip(_printable(mask(path)), _FIELD_CHARACTERS)


def clean_message(text: str) -> str:
    """`text` as it can be printed: in one line, secrets masked."""
    return _clip(_printable(mask(" ".join(text.split()))), _MESSAGE_CHARACTERS)


def excerpt_of_value(value: object) -> str:
    """The beginning of `value`, as JSON, secrets masked."""
    return _clip(_printable(_sketch(value, 0)), EXCERPT_CHARACTERS)


def excerpt_of_text(text: str, at: int = 0) -> str:
    """The part of `text` around the character `at`, secrets masked."""
    masked = mask(text)
    # A window into the masked text would be off its place, one into the other could cut a secret in two.
    start = max(0, at - EXCERPT_CHARACTERS // 2) if masked == text else 0
    lead = "…" if start else ""
    return _clip(_printable(lead + masked[start : start + 2 * EXCERPT_CHARACTERS]), EXCERPT_CHARACTERS)


def _sketch(value: object, level: int) -> str:
    match value:
        case str():
            return json.dumps(mask(value)[: 2 * EXCERPT_CHARACTERS], ensure_ascii=False)
        case bool() | None | float():
            return json.dumps(value)
        case int():
            # Python refuses to write very long integers in decimal.
            bits = value.bit_length()
            return str(value) if bits <= _BITS_SHOWN else f"an integer of about {int(bits * 0.30103) + 1} digits"
        case list():
            return f"[{_sketch_items(value, level)}]"
        case dict():
            return f"{{{_sketch_items(value, level)}}}"
    raise AssertionError(f"{type(value).__name__} is no JSON type")


def _sketch_items(value: list[Any] | dict[str, Any], level: int) -> str:
    if value and level == _LEVELS_SHOWN:
        return "…"
    shown = itertools.islice(value, _ITEMS_SHOWN)
    if isinstance(value, dict):
        texts = [f"{_sketch(key, level)}: {_sketch(value[key], level + 1)}" for key in shown]
    else:
        texts = [_sketch(item, level + 1) for item in shown]
    return ", ".join([*texts, "…"] if len(value) > _ITEMS_SHOWN else texts)


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
