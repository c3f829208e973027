"""A quick look at lines that finds nothing to say about most of them.

The promise: of a row accepted here, `parse_row` and `RowChecker.check` say nothing either, except what takes the rows
before it (`unique`) or code of the user's (`validator`). A line that is not accepted may well be right; it is for those
two to judge, and to word what is wrong. So whatever is rare, or not worth being quick about, is not accepted.

Worker processes import this module, so it imports little.
"""

from __future__ import annotations

import io
import math
import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import jiter

if TYPE_CHECKING:
    from thinker.config.pipeline_models import SchemaField

# How deep a schema may lead, and how deep values go that it says nothing about; together below `jsonl.MAX_DEPTH`.
_SCHEMA_LEVELS: Final = 16
_FREE_LEVELS: Final = 32

# Four bytes each: a block may be all blank lines.
SUSPECTS: Final = "I"

# A field and the name it has where it is looked up: the rest of its own, once dots have led so far.
_Named = tuple[str, "SchemaField"]


class Verdict(NamedTuple):
    """What a quick look at a block found.

    Attributes:
        lines: lines in the block.
        suspects: those that were not accepted, blank ones included, counted from 0.
    """

    lines: int
    suspects: array[int]


class FastRows:
    """Accepts lines of JSON that a schema can have nothing against.

    Args:
        accepts: the schema's part: False also for what is no object, or holds an infinite number, or goes too deep.
    """

    def __init__(self, accepts: Callable[[Any], bool]) -> None:
        self._accepts = accepts

    @classmethod
    def of_fields(cls, schema: Sequence[SchemaField]) -> FastRows:
        """For rows of these fields."""
        return cls(_Source(schema).function())

    @classmethod
    def of_checker(cls, accepts: Callable[[dict[str, Any]], bool]) -> FastRows:
        """For rows that `accepts` has nothing against; it is not asked about integers beyond 64 bits."""
        return cls(
            lambda row: type(row) is dict and _is_plain(row, leaves=_LEAVES_BUT_INTEGERS) and accepts(row),
        )

    def accepted(self, line: bytes) -> dict[str, Any] | None:
        """The row on `line` if it is accepted."""
        try:
            row = jiter.from_json(line, catch_duplicate_keys=True, allow_inf_nan=False, cache_mode="keys")
        except ValueError:
            return None
        return row if self._accepts(row) else None

    def verdict(self, block: bytes) -> Verdict:
        """Look at all lines of `block`: as `accepted` does, without a call for each line."""
        parse, accepts = jiter.from_json, self._accepts
        suspects = array(SUSPECTS)
        number = -1
        for number, line in enumerate(io.BytesIO(block)):
            try:
                row = parse(line, catch_duplicate_keys=True, allow_inf_nan=False, cache_mode="keys")
            except ValueError:
                suspects.append(number)
            else:
                if not accepts(row):
                    suspects.append(number)
        return Verdict(number + 1, suspects)


class _Absent:
    """The type of what a row does not have."""


_ABSENT: Final = _Absent()
_NULL: Final = type(None)
_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int, float),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (),
    "any": (str, int, float, bool, list, dict),
}


_LEAVES: Final[frozenset[type]] = frozenset({str, int, bool, _NULL, _Absent})
_LEAVES_BUT_INTEGERS: Final = _LEAVES - {int}
_LARGE_INTEGER: Final = 1 << 64


def _is_plain(value: Any, levels: int = _FREE_LEVELS, leaves: frozenset[type] = _LEAVES) -> bool:
    """Whether `value` holds no infinite number and goes no deeper than `levels`; large integers as `leaves` has it."""
    kind = type(value)
    if kind in leaves:
        return True
    if kind is float:
        return math.isfinite(value)
    if kind is int:
        return bool(-_LARGE_INTEGER < value < _LARGE_INTEGER)
    inner = value.values() if kind is dict else value
    if leaves.issuperset(map(type, inner)):
        return True
    return levels > 0 and all(_is_plain(each, levels - 1, leaves) for each in inner)


def _rest_is_plain(row: dict[str, Any], known: frozenset[str], refused: frozenset[str]) -> bool:
    """Whether what `row` has beyond the `known` keys is plain, and none of the `refused` ones among it."""
    for key, value in row.items():  # noqa: SIM110 - quicker than all()
        if key not in known and (key in refused or not _is_plain(value)):
            return False
    return True


class _Source:
    """Writes the function that accepts rows, as Python: some three times as quick as calls for each field.

    For a field `prompt` of type string, and no other, it reads

        def accepts(row):
            if type(row) is not dict: return False
            v1 = row.get(c1, ABSENT)
            if type(v1) is str:
                if not v1 or v1.isspace(): return False
            else: return False
            if not c2.issuperset(row) and not rest_is_plain(row, c2, c3): return False
            return True

    No text of the schema stands in it: what the schema says comes in as constants.
    """

    def __init__(self, schema: Sequence[SchemaField]) -> None:
        self._lines: list[str] = []
        self._indent = 0
        self._names: dict[str, object] = {
            "ABSENT": _ABSENT,
            "Absent": _Absent,
            "NoneType": _NULL,
            "is_plain": _is_plain,
            "isfinite": math.isfinite,
            "rest_is_plain": _rest_is_plain,
        }
        with self._block("def accepts(row):"):
            self._refuse_if("type(row) is not dict")
            self._object("row", [(field.name, field) for field in schema], 1)
            self._line("return True")

    def function(self) -> Callable[[Any], bool]:
        """What has been written."""
        names = dict(self._names)
        exec("\n".join(self._lines), names)
        function: Callable[[Any], bool] = names["accepts"]  # type: ignore[assignment]
        return function

    def _line(self, text: str) -> None:
        self._lines.append("  " * self._indent + text)

    def _refuse_if(self, condition: str) -> None:
        self._line(f"if {condition}: return False")

    @contextmanager
    def _block(self, head: str) -> Iterator[None]:
        self._line(head)
        self._indent += 1
        yield
        self._indent -= 1

    def _new(self, letter: str) -> str:
        name = f"{letter}{len(self._names)}"
        self._names[name] = None
        return name

    def _constant(self, value: object) -> str:
        name = self._new("c")
        self._names[name] = value
        return name

    def _object(self, value: str, fields: Sequence[_Named], level: int) -> None:
        """Tests of the object that the variable `value` holds; a row's level is 1."""
        if level > _SCHEMA_LEVELS:
            self._line("return False")
            return
        heads = dict.fromkeys(name.partition(".")[0] for name, _ in fields)
        for head in heads:
            member = self._new("v")
            self._line(f"{member} = {value}.get({self._constant(head)}, ABSENT)")
            self._member(member, head, fields, level + 1)
        known = self._constant(frozenset(heads))
        # A key written with its dots comes before what they would lead to.
        dotted = self._constant(frozenset(name for name, _ in fields if "." in name))
        self._refuse_if(f"not {known}.issuperset({value}) and not rest_is_plain({value}, {known}, {dotted})")

    def _member(self, value: str, name: str, fields: Sequence[_Named], level: int) -> None:
        """Tests of what stands under `name`: for the fields of that name, and for dotted ones that lead into it."""
        own = [field for whole, field in fields if whole == name]
        inner = [(whole[len(name) + 1 :], field) for whole, field in fields if whole.startswith(f"{name}.")]
        for field in own:
            self._value(value, field, level, walk_objects=not inner)
        if inner:
            with self._block(f"if type({value}) is dict:"):
                self._object(value, inner, level)
            if any(field.required for _, field in inner):
                self._line("else: return False")
            elif not own:
                self._line(f"elif not is_plain({value}): return False")

    def _value(self, value: str, field: SchemaField, level: int, *, walk_objects: bool = True) -> None:
        """Tests of a value for `field`, by its type; `walk_objects` is False where a test of its objects follows."""
        types = (field.type,) if isinstance(field.type, str) else field.type
        null_allowed = "null" in types or ("any" in types and field.enum is not None and None in field.enum)
        word = "if"
        for kind in dict.fromkeys(kind for name in types for kind in _KINDS[name]):
            with self._block(f"{word} type({value}) is {kind.__name__}:"):
                self._leaf_tests(value, field, kind, takes_fractions=not {"number", "any"}.isdisjoint(types))
                if kind is list:
                    self._items(value, field, level)
                elif kind is dict:
                    self._members(value, field, level, walk_objects)
            word = "elif"
        if null_allowed:
            with self._block(f"{word} {value} is None:"):
                self._leaf_tests(value, field, _NULL)
            word = "elif"
        fine = ([] if null_allowed else [f"{value} is None"]) + [f"{value} is ABSENT"]
        if not field.required:
            self._line(f"{word} {' or '.join(fine)}: pass")
        self._line("else: return False")

    def _leaf_tests(self, value: str, field: SchemaField, kind: type, *, takes_fractions: bool = True) -> None:
        self._line("pass")
        if kind is float:
            self._refuse_if(f"not isfinite({value})")
            if not takes_fractions:
                self._refuse_if(f"not {value}.is_integer()")
        if kind in (str, list, dict):
            if not field.allow_empty:
                self._refuse_if(f"not {value} or {value}.isspace()" if kind is str else f"not {value}")
            if field.min_length is not None:
                self._refuse_if(f"len({value}) < {self._constant(field.min_length)}")
            if field.max_length is not None:
                self._refuse_if(f"len({value}) > {self._constant(field.max_length)}")
        if kind in (int, float):
            if field.min is not None:
                self._refuse_if(f"{value} < {self._constant(field.min)}")
            if field.max is not None:
                self._refuse_if(f"{value} > {self._constant(field.max)}")
        if kind is str and field.pattern is not None:
            self._refuse_if(f"not {self._constant(re.compile(field.pattern).search)}({value})")
        if field.enum is not None:
            alike = (int, float) if kind in (int, float) else (kind,)
            allowed = frozenset(each for each in field.enum if type(each) in alike)
            self._refuse_if(f"{value} not in {self._constant(allowed)}" if kind not in (list, dict) else "True")

    def _items(self, value: str, field: SchemaField, level: int) -> None:
        if field.items is None:
            self._refuse_if(f"not is_plain({value})")
        elif level >= _SCHEMA_LEVELS:
            self._line("return False")
        else:
            item = self._new("v")
            with self._block(f"for {item} in {value}:"):
                self._value(item, field.items, level + 1)

    def _members(self, value: str, field: SchemaField, level: int, walk_objects: bool) -> None:
        if field.fields is not None:
            self._object(value, [(inner.name, inner) for inner in field.fields], level)
        elif walk_objects:
            self._refuse_if(f"not is_plain({value})")
