"""A JSON Schema read from a file and compiled; what is wrong with it is told with its place in the file.

Drafts 4, 6, 7, 2019-09 and 2020-12 (the default) are known. Beyond what they leave open:

- `format` is checked in all of them, as far as the format is known.
- `$ref` is followed within the file and to the drafts' own schemas, and nowhere else: nothing is fetched.
- A keyword that is no keyword of any draft, but nearly one, and a format that nobody knows, check nothing: both draw a
  warning.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from thinker.config.json_text import JsonText, parse_json
from thinker.config.problems import KeyPath, Place, Problem, config_error
from thinker.config.source import child_value, shown_path

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError, Validator

SUFFIX: Final = ".json"

_DRAFTS: Final = "4, 6, 7, 2019-09, 2020-12"
_TYPES: Final = ("array", "boolean", "integer", "null", "number", "object", "string")
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_UNKNOWN_FORMAT: Final = re.compile(r"Unknown format: '(.*?)'\. ")
_WORD: Final = re.compile(r"\S+")
_WITH_A_SCHEMA: Final = _WORD.findall(
    """additionalItems additionalProperties contains contentSchema else if items not propertyNames then unevaluatedItems
    unevaluatedProperties"""
)
_WITH_SCHEMAS: Final = _WORD.findall(
    """$defs allOf anyOf definitions dependencies dependentSchemas items oneOf patternProperties prefixItems
    properties"""
)
# All drafts' keywords, and `example`, which OpenAPI has.
_KEYWORDS: Final = frozenset(
    _WITH_A_SCHEMA
    + _WITH_SCHEMAS
    + _WORD.findall(
        """$anchor $comment $dynamicAnchor $dynamicRef $id $recursiveAnchor $recursiveRef $ref $schema $vocabulary const
        contentEncoding contentMediaType default dependentRequired deprecated description enum example examples
        exclusiveMaximum exclusiveMinimum format id maxContains maxItems maxLength maxProperties maximum minContains
        minItems minLength minProperties minimum multipleOf pattern readOnly required title type uniqueItems
        writeOnly"""
    )
)
_NEAR: Final = 0.8


@dataclass(frozen=True)
class JsonSchema:
    """A schema that can be used.

    Attributes:
        validator: the schema, compiled.
        warnings: parts of it that check nothing.
    """

    validator: Validator
    warnings: tuple[Problem, ...]


def load_json_schema(path: Path) -> JsonSchema:
    """Read and compile a schema.

    Raises:
        ConfigError: it cannot be read, is no JSON, or no JSON Schema; tells all problems, each with its place.
    """
    schema, problems = read_json_schema(path)
    if schema is None:
        raise config_error(problems)
    return schema


def read_json_schema(path: Path) -> tuple[JsonSchema | None, list[Problem]]:
    """The schema in the file `path`, or what is wrong with it."""
    name = shown_path(path)
    try:
        source = parse_json(path.read_bytes(), name)
    except OSError as error:
        return None, [Problem(Place(name), f"cannot be read: {error.strerror}")]
    if not source.problems and isinstance(source.value, list):
        source.problems.append(source.problem((), "a JSON Schema is an object; put a list of fields in a YAML file"))
    if not source.problems and not isinstance(source.value, dict):
        source.problems.append(source.problem((), "a JSON Schema is an object"))
    if source.problems:
        return None, source.problems
    return _compiled(source)


def _compiled(source: JsonText) -> tuple[JsonSchema | None, list[Problem]]:
    import jsonschema_rs

    unknown: list[str] = []
    while True:
        try:
            # Told to know the formats found so far, the library names the next one that it does not.
            jsonschema_rs.validator_for(
                source.value,
                formats=dict.fromkeys(unknown, lambda _: True),
                validate_formats=True,
                ignore_unknown_formats=False,
                offline=True,
            )
            break
        except jsonschema_rs.ValidationError as error:
            found = _UNKNOWN_FORMAT.match(error.message)
            if found is None or found[1] in unknown:
                return None, [_schema_problem(source, error)]
            unknown.append(found[1])
        except ValueError as error:
            return None, [source.problem((), f"no JSON Schema: {error}")]
    validator = jsonschema_rs.validator_for(source.value, validate_formats=True, offline=True)
    return JsonSchema(validator, tuple(_warnings(source, unknown))), []


def _schema_problem(source: JsonText, error: ValidationError) -> Problem:
    path: KeyPath = tuple(error.instance_path)
    if not path:
        return _reference_problem(source, error.message)
    if path[-1] == "type":
        named = child_value_at(source.value, path)
        near = difflib.get_close_matches(str(named), _TYPES, n=1)
        hint = f", did you mean '{near[0]}'?" if near else ""
        return source.problem(path, f"expected a type ({', '.join(_TYPES)}) or a list of them, got {named!r}{hint}")
    return source.problem(path, f"no JSON Schema: {error.message}")


def _reference_problem(source: JsonText, message: str) -> Problem:
    """A reference that leads nowhere. The library says where it should lead, but not where it stands."""
    for path in source.paths:
        value = child_value_at(source.value, path)
        if not isinstance(value, str):
            continue
        document, _, fragment = value.partition("#")
        if path[-1] == "$schema" and value in message:
            return source.problem(path, f"unknown draft '{value}' (known: {_DRAFTS})")
        if path[-1] in _REFERENCES and document and document in message:
            why = "only references within the file are followed: copy what it refers to under $defs"
            return source.problem(path, f"'{value}' is in another document; {why}")
        if path[-1] in _REFERENCES and not document and f"'{fragment}'" in message:
            return source.problem(path, f"'{value}' refers to nothing in this file")
    return source.problem((), f"no JSON Schema: {message}")


def _warnings(source: JsonText, unknown_formats: list[str]) -> Iterator[Problem]:
    for path, schema in _subschemas(source.value, ()):
        for key in schema:
            near = [] if key in _KEYWORDS else difflib.get_close_matches(key, _KEYWORDS, n=1, cutoff=_NEAR)
            if near:
                message = f"no keyword of JSON Schema, checks nothing; did you mean '{near[0]}'?"
                yield source.problem((*path, key), message)
        if schema.get("format") in unknown_formats:
            yield source.problem((*path, "format"), f"the format '{schema['format']}' is not known, and not checked")


def _subschemas(schema: Any, path: KeyPath) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """`schema` and every schema within it, with their paths."""
    if not isinstance(schema, dict):
        return
    yield path, schema
    for key, value in schema.items():
        if key in _WITH_A_SCHEMA and isinstance(value, dict):
            yield from _subschemas(value, (*path, key))
        elif key in _WITH_SCHEMAS:
            items = value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())
            for step, item in items:
                yield from _subschemas(item, (*path, key, step))


def child_value_at(value: Any, path: KeyPath) -> Any:
    """The value at `path` within `value`; None where there is none."""
    for step in path:
        value = child_value(value, step)
    return value
