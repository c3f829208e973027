"""Schema fields as checks of rows.

What counts where the configuration leaves room:

- Null counts as absent, unless the field's `type` lists `null`, or lists `any` while its `enum` holds null.
- A name is looked up as it stands before its dots lead into objects; arrays are not led into.
- A value of the wrong type, or an empty one where that is not allowed, is not held against the other rules.
- A rule applies to the types it makes sense for: `pattern` to strings, `min` and `max` to numbers, lengths to strings
  (characters), arrays and objects.
- `enum` and `unique` tell types apart (`true` is not 1, `"1"` is not 1), but not `1` and `1.0`.
- `unique` covers all values of the field in the file, nulls excepted; under `items`, also those of one array.
- `validator` is not asked about null; what it is given is its own copy.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from thinker.config.pipeline_models import Scalar, SchemaField
from thinker.data.jsonl import join_path, json_type
from thinker.errors import ConfigError
from thinker.validation.plugin_calls import PluginCall, PluginError, new_plugin

# What a 16-byte digest and its line number take in a dictionary, measured at its worst just after it has grown.
UNIQUE_BYTES_PER_VALUE: Final = 160


class Finding(NamedTuple):
    """A value that breaks a rule; `rule` is a slug of `thinker.validation.codes`."""

    rule: str
    field: str
    message: str
    value: object


@dataclass(frozen=True)
class _Site:
    """Where a value stands."""

    path: str
    line: int


_Check = Callable[[Any, _Site], Iterator[Finding]]
_ABSENT: Final = object()


class RowChecker:
    """Checks rows against a schema; remembers the values of `unique` fields from row to row.

    Attributes:
        memory_bytes_per_row: what `unique` keeps in memory for each row (for each value, where it is under `items`).
        one_by_one: whether rows must be checked one after the other, in file order and in one process.

    Raises:
        ConfigError: a field's pattern is no regular expression, or its validator cannot be loaded.
    """

    def __init__(self, schema: Sequence[SchemaField]) -> None:
        self._fields = tuple(_Field(field) for field in schema)
        self._one_by_one = tuple(
            compiled for compiled, field in zip(self._fields, schema, strict=True) if _is_one_by_one(field)
        )
        self.memory_bytes_per_row = UNIQUE_BYTES_PER_VALUE * sum(map(_unique_fields, schema))
        self.one_by_one = bool(self._one_by_one)

    def check(self, row: dict[str, Any], line: int) -> list[Finding]:
        """Everything in `row` that breaks a rule, field by field in the schema's order."""
        return self._findings(self._fields, row, line)

    def check_accepted(self, row: dict[str, Any], line: int) -> list[Finding]:
        """As `check`, of a row that `fast_rows` accepts: only what that leaves open is looked at."""
        return self._findings(self._one_by_one, row, line)

    def _findings(self, fields: Sequence[_Field], row: dict[str, Any], line: int) -> list[Finding]:
        return [finding for field in fields for finding in field.check_in(row, _Site("", line))]


class _Field:
    """One compiled schema field."""

    def __init__(self, field: SchemaField) -> None:
        types = (field.type,) if isinstance(field.type, str) else field.type
        self._name = field.name
        self._types = frozenset(types)
        self._null_allowed = "null" in types or ("any" in types and field.enum is not None and None in field.enum)
        self._required = field.required
        self._allow_empty = field.allow_empty
        self._checks: tuple[_Check, ...] = tuple(_compile(field))

    def check_in(self, parent: dict[str, Any], site: _Site) -> Iterator[Finding]:
        """Check the value that `parent`, which stands at `site`, has under this field's name."""
        yield from self.check(_look_up(parent, self._name), _Site(join_path(site.path, self._name), site.line))

    def check(self, value: Any, site: _Site) -> Iterator[Finding]:
        """Check `value`, which stands at `site`."""
        if value is _ABSENT or (value is None and not self._null_allowed):
            if self._required:
                null = value is None
                yield Finding("missing", site.path, "null, which counts as missing" if null else "missing", None)
        elif not self._type_fits(value):
            wanted = " or ".join(sorted(self._types))
            yield Finding("type", site.path, f"expected {wanted}, got {json_type(value)}", value)
        elif not self._allow_empty and _is_empty(value):
            yield Finding("empty", site.path, f"empty {json_type(value)}", value)
        else:
            for check in self._checks:
                yield from check(value, site)

    def _type_fits(self, value: Any) -> bool:
        kind = json_type(value)
        return (
            "any" in self._types
            or kind in self._types
            or (kind == "integer" and "number" in self._types)
            or (value is None and self._null_allowed)
        )


def _look_up(parent: dict[str, Any], name: str) -> Any:
    if name in parent:
        return parent[name]
    head, dot, rest = name.partition(".")
    inner = parent.get(head)
    return _look_up(inner, rest) if dot and isinstance(inner, dict) else _ABSENT


def _is_empty(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    return isinstance(value, list | dict) and not value


def _compile(field: SchemaField) -> Iterator[_Check]:
    if field.pattern is not None:
        yield _pattern(field.name, field.pattern)
    if field.min is not None:
        yield _least(field.min)
    if field.max is not None:
        yield _greatest(field.max)
    if field.min_length is not None:
        yield _shortest(field.min_length)
    if field.max_length is not None:
        yield _longest(field.max_length)
    if field.enum is not None:
        yield _enum(field.enum)
    if field.unique:
        yield _Unique()
    if field.items is not None:
        yield _items(_Field(field.items))
    if field.fields is not None:
        yield _fields(tuple(map(_Field, field.fields)))
    if field.validator is not None:
        yield _validator(field.validator)


def _pattern(name: str, pattern: str) -> _Check:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"data_validation.schema: {name}: pattern {pattern!r} is not valid: {error}") from error

    def check(value: Any, site: _Site) -> Iterator[Finding]:
        if isinstance(value, str) and not expression.search(value):
            yield Finding("pattern", site.path, f"does not match {pattern!r}", value)

    return check


def _least(limit: float) -> _Check:
    def check(value: Any, site: _Site) -> Iterator[Finding]:
        if _is_number(value) and value < limit:
            yield Finding("min", site.path, f"less than {limit:.15g}", value)

    return check


def _greatest(limit: float) -> _Check:
    def check(value: Any, site: _Site) -> Iterator[Finding]:
        if _is_number(value) and value > limit:
            yield Finding("max", site.path, f"greater than {limit:.15g}", value)

    return check


def _shortest(limit: int) -> _Check:
    def check(value: Any, site: _Site) -> Iterator[Finding]:
        if isinstance(value, str | list | dict) and len(value) < limit:
            yield Finding("min_length", site.path, f"length {len(value)}, at least {limit} expected", value)

    return check


def _longest(limit: int) -> _Check:
    def check(value: Any, site: _Site) -> Iterator[Finding]:
        if isinstance(value, str | list | dict) and len(value) > limit:
            yield Finding("max_length", site.path, f"length {len(value)}, at most {limit} allowed", value)

    return check


def _enum(values: Iterable[Scalar]) -> _Check:
    allowed = {_identity(value) for value in values}

    def check(value: Any, site: _Site) -> Iterator[Finding]:
        if isinstance(value, list | dict) or _identity(value) not in allowed:
            yield Finding("enum", site.path, "none of the values allowed", value)

    return check


class _Unique:
    def __init__(self) -> None:
        self._line_of: dict[bytes, int] = {}

    def __call__(self, value: Any, site: _Site) -> Iterator[Finding]:
        if value is None:
            return
        digest = _digest(value)
        if digest in self._line_of:
            yield Finding("unique", site.path, f"same value as in line {self._line_of[digest]}", value)
        else:
            self._line_of[digest] = site.line


def _items(item: _Field) -> _Check:
    def check(value: Any, site: _Site) -> Iterator[Finding]:
        if isinstance(value, list):
            for position, inner in enumerate(value):
                yield from item.check(inner, _Site(join_path(site.path, position), site.line))

    return check


def _fields(fields: tuple[_Field, ...]) -> _Check:
    def check(value: Any, site: _Site) -> Iterator[Finding]:
        if isinstance(value, dict):
            for field in fields:
                yield from field.check_in(value, site)

    return check


def _validator(name: str) -> _Check:
    call = PluginCall(f"validator '{name}'", new_plugin("validators", name))

    def check(value: Any, site: _Site) -> Iterator[Finding]:
        if value is None:
            return
        try:
            texts = call.texts(value)
        except PluginError as error:
            raise error.at(line=site.line, field=site.path) from error.__cause__
        for text in texts:
            yield Finding("validator", site.path, text, value)

    return check


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _identity(value: Scalar) -> tuple[str, Scalar]:
    """Equal for values that are the same in JSON: numbers by value, other types apart."""
    return ("number" if _is_number(value) else json_type(value), value)


def _digest(value: Any) -> bytes:
    """16 bytes that are equal for equal values; `1` equals `1.0`, the order of an object's keys does not count."""
    digest = hashlib.blake2b(digest_size=16)
    _feed(value, digest.update)
    return digest.digest()


def _feed(value: Any, update: Callable[[bytes], None]) -> None:
    """Write `value` so that no two different ones give the same bytes: a letter for the type, then length or text."""
    match value:
        case str():
            text = value.encode()
            update(b"s%d:" % len(text))
            update(text)
        case None | bool():
            update(b"n" if value is None else b"t" if value else b"f")
        case int():
            update(f"i{value:x};".encode())
        case float():
            update(f"i{int(value):x};".encode() if value.is_integer() else f"d{value.hex()};".encode())
        case list():
            update(b"[%d:" % len(value))
            for item in value:
                _feed(item, update)
        case dict():
            update(b"{%d:" % len(value))
            for key in sorted(value):
                _feed(key, update)
                _feed(value[key], update)


def _unique_fields(field: SchemaField) -> int:
    return int(field.unique) + sum(map(_unique_fields, _inner(field)))


def _is_one_by_one(field: SchemaField) -> bool:
    return field.unique or field.validator is not None or any(map(_is_one_by_one, _inner(field)))


def _inner(field: SchemaField) -> tuple[SchemaField, ...]:
    return (*((field.items,) if field.items else ()), *(field.fields or ()))
