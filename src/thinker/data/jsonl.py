"""JSON Lines as bytes that are hashed while they are read, and lines as rows.

The gate and the encoder read through this module, so that training sees exactly the rows that were checked. Beyond
RFC 8259: the last of duplicate keys wins; a number that no 64-bit float can hold, a lone surrogate and nesting deeper
than `MAX_DEPTH` are refused; integers have no bound.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from thinker.data.blocks import HashedBlocks

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
# Far below Python's recursion limit, so that no code that walks a row ever meets it.
MAX_DEPTH: Final = 128

# JSON's own white space; other characters make a line invalid rather than blank.
_WHITE_SPACE: Final = b" \t\r\n"
# Python refuses to read longer integers in one go (CVE-2020-10735).
_INTEGER_CHUNK: Final = 4000
_BRACKETS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class RowCode(StrEnum):
    """What can be wrong with a line by itself; `thinker.validation.codes` documents these codes with all others."""

    INVALID_UTF8 = "THK-DATA-001"
    INVALID_JSON = "THK-DATA-002"
    NON_FINITE_NUMBER = "THK-DATA-003"
    NUMBER_TOO_LARGE = "THK-DATA-004"
    LONE_SURROGATE = "THK-DATA-005"
    NESTED_TOO_DEEP = "THK-DATA-006"
    ROW_NOT_OBJECT = "THK-DATA-007"
    DUPLICATE_KEY = "THK-DATA-008"


@dataclass(frozen=True)
class RawLine:
    """One line of a file: its number, from 1, and its bytes without line end and byte order mark."""

    number: int
    content: bytes

    @classmethod
    def of(cls, number: int, line: bytes) -> RawLine:
        r"""The line that stands in a file as `line`; it ends with `\n` or `\r\n`, unless it is the last one."""
        content = line[:-1].removesuffix(b"\r") if line.endswith(b"\n") else line
        return cls(number, content.removeprefix(BYTE_ORDER_MARK) if number == 1 else content)

    @property
    def blank(self) -> bool:
        """Whether the line holds white space alone."""
        return not self.content.strip(_WHITE_SPACE)


@dataclass(frozen=True)
class RowProblem:
    """One thing wrong with a line.

    Attributes:
        field: path of the value concerned (`metadata.tags[2]`); empty for the line as a whole.
        text: what an excerpt is to be taken from, unmasked and of any length.
        at: the character of `text` that the problem is about.
    """

    code: RowCode
    message: str
    field: str = ""
    text: str = ""
    at: int = 0


@dataclass(frozen=True)
class ParsedRow:
    """A line as a row. `value` is None if one of `problems` is an error; a duplicate key alone is none."""

    value: dict[str, Any] | None
    problems: tuple[RowProblem, ...] = ()


@dataclass(frozen=True)
class DataRow:
    """A row, and the file and line it stands on, from 1."""

    line: int
    value: dict[str, Any]
    file: Path


class HashingLines:
    r"""The lines of a file, hashed while they are read; holds a few blocks and one line in memory.

    Lines end with `\n` or `\r\n`; the last one may lack its end. Those of a compressed file (`.gz`, `.zst`) are lines
    of its text, while size and hash are those of the file as it lies on disk. Use it in a `with` statement or read it
    to the end.

    Attributes:
        has_byte_order_mark: whether the text starts with UTF-8's; known once the first line has been read.

    Raises:
        DataError: the file cannot be read, or decompressed.
        PreconditionError: a package that its compression takes is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.has_byte_order_mark = False
        self._blocks = HashedBlocks(path)
        self._lines = self._split()

    def __enter__(self) -> HashingLines:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._blocks.close()

    def __iter__(self) -> Iterator[RawLine]:
        return self._lines

    def drain(self) -> None:
        """Read and hash what is left of the file, without making lines of it or decompressing it."""
        self._lines.close()
        self._blocks.drain()

    @property
    def bytes_read(self) -> int:
        """Bytes read so far from the disk."""
        return self._blocks.bytes_read

    @property
    def size_bytes(self) -> int:
        """Size of the file, as read. Raises RuntimeError before its end is reached."""
        return self._blocks.size_bytes

    @property
    def sha256(self) -> str:
        """SHA-256 of all bytes, in hex. Raises RuntimeError before the file's end is reached."""
        return self._blocks.sha256

    def _split(self) -> Generator[RawLine, None, None]:
        lines = itertools.chain.from_iterable(map(io.BytesIO, self._blocks))
        for number, line in enumerate(lines, 1):
            if number == 1:
                self.has_byte_order_mark = line.startswith(BYTE_ORDER_MARK)
            yield RawLine.of(number, line)


def parse_row(raw: RawLine) -> ParsedRow:
    """The JSON object that `raw` holds, or everything that is wrong with it. Never raises."""
    try:
        text = raw.content.decode("utf-8")
    except UnicodeDecodeError as error:
        shown = raw.content.decode("utf-8", "backslashreplace")
        hint = "; the file looks like UTF-16, save it as UTF-8" if raw.content[:2] in _UTF16_MARKS else ""
        what = f"invalid UTF-8 at byte {error.start + 1}: {error.reason}{hint}"
        return _refused(RowCode.INVALID_UTF8, what, shown)
    if _deeper_than(text, MAX_DEPTH):
        return _too_deep(text)
    reading = _Reading()
    try:
        value = reading.decode(text)
        problems = reading.problems(value) if reading.suspicious or "\\u" in text else []
    except json.JSONDecodeError as error:
        what = error.msg[:1].lower() + error.msg[1:]
        return _refused(RowCode.INVALID_JSON, f"invalid JSON at column {error.pos + 1}: {what}", text, error.pos)
    except RecursionError:  # the caller itself stands deep in the stack
        return _too_deep(text)
    if not isinstance(value, dict):
        kind = "number" if isinstance(value, _BadNumber) else json_type(value)
        what = f"a row must be a JSON object, not {_article(kind)}"
        problems.insert(0, RowProblem(RowCode.ROW_NOT_OBJECT, what, text=text))
    refused = any(problem.code is not RowCode.DUPLICATE_KEY for problem in problems)
    return ParsedRow(None if refused else value, tuple(problems))


def json_type(value: object) -> str:
    """The name of `value`'s JSON type as the configuration writes it; `1.0` is an integer, a boolean is not."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


def join_path(path: str, key: str | int) -> str:
    """The path of what `key` names in the value at `path`: `metadata.tags[2]`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


class _BadNumber:
    """Stands in a row for a number that cannot be kept."""

    def __init__(self, literal: str, code: RowCode, message: str) -> None:
        self.literal, self.code, self.message = literal, code, message


@dataclass
class _Reading:
    """What decoding one line brings up, and where."""

    duplicates: dict[int, list[str]] = field(default_factory=dict)
    overruled: list[tuple[str, Any]] = field(default_factory=list)
    suspicious: bool = False

    def decode(self, text: str) -> Any:
        decoder = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_constant=self._constant,
            parse_float=self._float,
            parse_int=_integer,
        )
        return decoder.decode(text)

    def problems(self, value: Any) -> list[RowProblem]:
        """All problems, those of values that a later duplicate key overruled last."""
        found = list(self._inspect(value, ""))
        for key, discarded in self.overruled:
            found += self._inspect(discarded, key)
        return found

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) == len(pairs):
            return result
        self.suspicious = True
        last = {key: position for position, (key, _) in enumerate(pairs)}
        doubled = [(key, value) for position, (key, value) in enumerate(pairs) if last[key] != position]
        self.duplicates[id(result)] = list(dict.fromkeys(key for key, _ in doubled))
        # Also keeps overruled objects alive, so that no other one can take their id.
        self.overruled += doubled
        return result

    def _constant(self, literal: str) -> _BadNumber:
        self.suspicious = True
        return _BadNumber(literal, RowCode.NON_FINITE_NUMBER, f"{literal} is not a JSON number")

    def _float(self, literal: str) -> float | _BadNumber:
        value = float(literal)
        if math.isfinite(value):
            return value
        self.suspicious = True
        return _BadNumber(literal, RowCode.NUMBER_TOO_LARGE, "number too large for a 64-bit float")

    def _inspect(self, value: Any, path: str) -> Iterator[RowProblem]:
        if isinstance(value, _BadNumber):
            yield RowProblem(value.code, value.message, path, value.literal)
        elif isinstance(value, str):
            yield from _lone_surrogates(value, path, "text")
        elif isinstance(value, list):
            for position, item in enumerate(value):
                yield from self._inspect(item, join_path(path, position))
        elif isinstance(value, dict):
            for key in self.duplicates.get(id(value), ()):
                what = f"key {json.dumps(key)} appears more than once, the last one counts"
                yield RowProblem(RowCode.DUPLICATE_KEY, what, join_path(path, key), key)
            for key, item in value.items():
                yield from _lone_surrogates(key, join_path(path, key), "key")
                yield from self._inspect(item, join_path(path, key))


def _lone_surrogates(text: str, path: str, kind: str) -> Iterator[RowProblem]:
    if match := _SURROGATE.search(text):
        what = f"lone surrogate \\u{ord(match[0]):04x} in a {kind}: half of a character"
        yield RowProblem(RowCode.LONE_SURROGATE, what, path, text, match.start())


def _deeper_than(text: str, limit: int) -> bool:
    if text.count("[") + text.count("{") <= limit:
        return False
    depth = 0
    for match in _BRACKETS.finditer(text):
        if match[0] in "[{":
            depth += 1
            if depth > limit:
                return True
        elif match[0] in "]}":
            depth -= 1
    return False


def _integer(digits: str) -> int:
    """`int(digits)` for any number of digits."""
    if len(digits) <= _INTEGER_CHUNK:
        return int(digits)
    sign, digits = (-1, digits[1:]) if digits.startswith("-") else (1, digits)
    return sign * _natural(digits)


def _natural(digits: str) -> int:
    if len(digits) <= _INTEGER_CHUNK:
        return int(digits)
    low = len(digits) // 2
    power: int = 10**low
    return _natural(digits[:-low]) * power + _natural(digits[-low:])


def _refused(code: RowCode, message: str, text: str, at: int = 0) -> ParsedRow:
    return ParsedRow(None, (RowProblem(code, message, text=text, at=at),))


def _too_deep(text: str) -> ParsedRow:
    return _refused(RowCode.NESTED_TOO_DEEP, f"nested deeper than {MAX_DEPTH} levels", text)


def _article(noun: str) -> str:
    if noun == "null":
        return noun
    return f"{'an' if noun[0] in 'aio' else 'a'} {noun}"


def first_error(path: Path, line: int, parsed: ParsedRow) -> str:
    """The message for a line that is no row."""
    problem = next(problem for problem in parsed.problems if problem.code is not RowCode.DUPLICATE_KEY)
    place = f"{problem.field}: " if problem.field else ""
    return f"{path}:{line}: {place}{problem.message} ({problem.code}); mend the line"
