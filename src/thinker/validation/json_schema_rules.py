"""A JSON Schema file as a checker of rows, with the same interface as `rules.RowChecker`.

What breaks a rule is told in words like those of `rules`, after the JSON Schema keyword concerned. A property that is
missing or not allowed is told under its own path; of alternatives (`anyOf`, `oneOf`), why the first few do not fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from thinker.config.json_schema_file import load_json_schema
from thinker.config.pipeline_models import SchemaField
from thinker.data.jsonl import join_path, json_type
from thinker.validation.problems import excerpt_of_value
from thinker.validation.rules import Finding, RowChecker

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError

# The library takes numbers through their decimal digits, of which Python writes no more.
_LARGEST_INTEGER: Final = 10**4299
_ALTERNATIVES_SHOWN: Final = 3
_VALUES_SHOWN: Final = 10

_BOUNDS: Final = {
    "minimum": "less than",
    "maximum": "greater than",
    "exclusiveMinimum": "not greater than",
    "exclusiveMaximum": "not less than",
    "multipleOf": "not a multiple of",
}
_SHORTEST: Final = ("minLength", "minItems", "minProperties")
_LONGEST: Final = ("maxLength", "maxItems", "maxProperties")
_PLAIN: Final = {
    "contains": "too few items, or too many, of the kind asked for",
    "not": "of the kind that is not allowed",
    "unevaluatedItems": "has items that are not allowed",
    "uniqueItems": "two items are equal",
    "falseSchema": "nothing is allowed here",
}


def row_checker(schema: Sequence[SchemaField] | Path) -> RowChecker | JsonSchemaChecker:
    """A new checker (it may remember rows) for the fields of a row, or the file of a JSON Schema.

    Raises:
        ConfigError: the schema cannot be used.
    """
    return JsonSchemaChecker(schema) if isinstance(schema, Path) else RowChecker(schema)


class JsonSchemaChecker:
    """Checks rows against a JSON Schema file.

    Attributes:
        memory_bytes_per_row: 0; a JSON Schema compares no rows.

    Raises:
        ConfigError: the file cannot be read, or is no JSON Schema; tells all problems, each with its place.
    """

    memory_bytes_per_row = 0

    def __init__(self, path: Path) -> None:
        self._validator = load_json_schema(path).validator

    def accepts(self, row: dict[str, Any]) -> bool:
        """Whether nothing in `row` breaks a rule. Says nothing for certain of integers with more than 4,299 digits."""
        return self._validator.is_valid(row)

    def check(self, row: dict[str, Any], line: int) -> list[Finding]:
        """Everything in `row` that breaks a rule."""
        oversized = [
            Finding("json-schema", path, "an integer of more than 4,299 digits, which cannot be compared", value)
            for path, value in _oversized(row, "")
        ]
        if oversized:
            return oversized
        return [finding for error in self._validator.iter_errors(row) for finding in _findings(row, error)]


def _findings(row: dict[str, Any], error: ValidationError) -> Iterator[Finding]:
    keyword, path = error.kind.name, _path(error)
    value = _value_at(row, error)
    detail: Any = error.kind.value
    if keyword == "falseSchema" and error.schema_path[-1:] == ["additionalProperties"]:
        keyword, detail = "additionalProperties", list(value)  # as the library words it where no property is named
    if keyword == "required":
        yield Finding("json-schema", join_path(path, detail), "required: missing", value)
    elif keyword in ("additionalProperties", "unevaluatedProperties"):
        for key in detail:
            yield Finding("json-schema", join_path(path, key), f"{keyword}: not allowed", value[key])
    else:
        named = "false" if keyword == "falseSchema" else keyword
        yield Finding("json-schema", path, f"{named}: {_words(row, error, value)}", value)


def _words(row: dict[str, Any], error: ValidationError, value: Any) -> str:
    """What is wrong with `value`, which stands in `row`, without the keyword."""
    keyword, detail = error.kind.name, error.kind.value
    if keyword in _PLAIN:
        return _PLAIN[keyword]
    if keyword in _BOUNDS:
        return f"{_BOUNDS[keyword]} {excerpt_of_value(detail)}"
    if keyword in _SHORTEST:
        return f"length {len(value)}, at least {detail} expected"
    if keyword in _LONGEST:
        return f"length {len(value)}, at most {detail} allowed"
    if keyword in ("anyOf", "oneOf"):
        return _alternatives(row, error)
    match keyword:
        case "type":
            return f"expected {' or '.join(detail)}, got {json_type(value)}"
        case "enum":
            shown = ", ".join(map(excerpt_of_value, islice(detail, _VALUES_SHOWN)))
            return f"none of {shown}{', …' if len(detail) > _VALUES_SHOWN else ''}"
        case "const":
            return f"not {excerpt_of_value(detail)}"
        case "pattern":
            return f"does not match {detail!r}"
        case "format":
            return f"no {detail}"
        case "propertyNames":
            name = detail.instance
            return f"the name {excerpt_of_value(name)}: {detail.kind.name}: {_words(row, detail, name)}"
        case "additionalItems":
            return f"length {len(value)}, at most {detail} allowed"
    return error.message


def _alternatives(row: dict[str, Any], error: ValidationError) -> str:
    alternatives: list[list[ValidationError]] = error.kind.value
    if any(not reasons for reasons in alternatives):
        return "fits more than one alternative"
    reasons = []
    for number, errors in enumerate(alternatives[:_ALTERNATIVES_SHOWN], 1):
        first = next(_findings(row, errors[0]))
        field = "" if first.field == _path(error) else f"{first.field}: "
        reasons.append(f"({number}) {field}{first.message}")
    more = ", …" if len(alternatives) > _ALTERNATIVES_SHOWN else ""
    return f"fits none of {len(alternatives)} alternatives: {', '.join(reasons)}{more}"


def _path(error: ValidationError) -> str:
    return reduce(join_path, error.instance_path, "")


def _value_at(row: Any, error: ValidationError) -> Any:
    for step in error.instance_path:
        row = row[step]
    return row


def _oversized(value: Any, path: str) -> Iterator[tuple[str, int]]:
    match value:
        case bool():
            return
        case int():
            if not -_LARGEST_INTEGER < value < _LARGEST_INTEGER:
                yield path, value
        case list():
            for position, item in enumerate(value):
                yield from _oversized(item, join_path(path, position))
        case dict():
            for key, item in value.items():
                yield from _oversized(item, join_path(path, key))
