"""JSON Schema files as checkers of rows: each keyword's message, exact numbers, and a slower library's verdicts."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thinker.config.pipeline_models import SchemaField
from thinker.validation import DatasetValidator
from thinker.validation.json_schema_rules import JsonSchemaChecker, row_checker
from thinker.validation.rules import RowChecker


def checker(folder: Path, schema: dict[str, Any]) -> JsonSchemaChecker:
    path = folder / "schema.json"
    path.write_text(json.dumps(schema), encoding="utf-8")
    return JsonSchemaChecker(path)


def found(folder: Path, schema: dict[str, Any], row: dict[str, Any]) -> list[tuple[str, str]]:
    rules = checker(folder, schema)
    findings = rules.check(row, 1)
    assert rules.accepts(row) == (not findings)
    assert all(finding.rule == "json-schema" for finding in findings)
    return [(finding.field, finding.message) for finding in findings]


@pytest.mark.parametrize(
    ("schema", "bad", "message"),
    [
        ({"type": "string"}, 1, "type: expected string, got integer"),
        ({"type": ["null", "object"]}, [], "type: expected null or object, got array"),
        ({"type": "integer"}, True, "type: expected integer, got boolean"),
        ({"minimum": 3}, 2.5, "minimum: less than 3"),
        ({"maximum": 3}, 4, "maximum: greater than 3"),
        ({"exclusiveMinimum": 3}, 3, "exclusiveMinimum: not greater than 3"),
        ({"exclusiveMaximum": 3}, 3, "exclusiveMaximum: not less than 3"),
        ({"multipleOf": 2}, 3, "multipleOf: not a multiple of 2"),
        ({"minLength": 2}, "é", "minLength: length 1, at least 2 expected"),
        ({"maxLength": 2}, "abc", "maxLength: length 3, at most 2 allowed"),
        ({"minItems": 1}, [], "minItems: length 0, at least 1 expected"),
        ({"maxProperties": 0}, {"a": 1}, "maxProperties: length 1, at most 0 allowed"),
        ({"pattern": "^a"}, "b", "pattern: does not match '^a'"),
        ({"enum": [1, "a"]}, "b", 'enum: none of 1, "a"'),
        ({"const": {"a": 1}}, 1, 'const: not {"a": 1}'),
        ({"format": "date"}, "2023-02-29", "format: no date"),
        ({"uniqueItems": True}, [1, 1.0], "uniqueItems: two items are equal"),
        ({"not": {"type": "string"}}, "a", "not: of the kind that is not allowed"),
        ({"contains": {"const": 1}}, [2], "contains: too few items, or too many, of the kind asked for"),
        ({"propertyNames": {"maxLength": 1}}, {"ab": 1},
         'propertyNames: the name "ab": maxLength: length 2, at most 1 allowed'),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, 1, "oneOf: fits more than one alternative"),
        ({"anyOf": [{"type": "null"}, {"required": ["a"], "type": "object"}]}, {},
         "anyOf: fits none of 2 alternatives: (1) type: expected null, got object, (2) v.a: required: missing"),
        (False, 1, "false: nothing is allowed here"),
    ],
)  # fmt: skip
def test_each_keyword_is_told_in_our_words(tmp_path: Path, schema: Any, bad: object, message: str) -> None:
    assert found(tmp_path, {"properties": {"v": schema}}, {"v": bad}) == [("v", message)]


@pytest.mark.parametrize(
    ("schema", "row", "fields"),
    [
        ({"properties": {"m": {"properties": {"tags": {"items": {"type": "string"}}}}}}, {"m": {"tags": ["a", "b", 1]}},
         ["m.tags[2]"]),
        ({"properties": {"m": {"required": ["a", "b"]}}}, {"m": {}}, ["m.a", "m.b"]),
        ({"additionalProperties": False}, {"x": 1, "y": 2}, ["x", "y"]),
        ({"properties": {"m": {"unevaluatedProperties": False}}}, {"m": {"x": 1}}, ["m.x"]),
        ({"dependentRequired": {"a": ["b"]}}, {"a": 1}, ["b"]),
        ({"$ref": "#/$defs/row", "$defs": {"row": {"properties": {"a": {"type": "string"}}}}}, {"a": 1}, ["a"]),
    ],
)  # fmt: skip
def test_the_field_is_the_path_of_the_value(
    tmp_path: Path, schema: dict[str, Any], row: dict[str, Any], fields: list[str]
) -> None:
    assert [field for field, _ in found(tmp_path, schema, row)] == fields


@pytest.mark.parametrize(
    ("schema", "value", "fits"),
    [
        ({"type": "integer"}, 1.0, True),
        ({"type": "integer"}, 1e300, True),
        ({"enum": [1]}, 1.0, True),
        ({"enum": [1]}, True, False),
        ({"const": 0}, -0.0, True),
        ({"maximum": 2**53}, 2**53, True),
        ({"maximum": 2**53}, 2**53 + 1, False),
        ({"maximum": 10**30}, 10**30 + 1, False),
        ({"exclusiveMinimum": -(10**40)}, -(10**40), False),
        ({"multipleOf": 0.01}, 1.23, True),
        ({"multipleOf": 0.01}, 1.234, False),
        ({"multipleOf": 3}, 3 * 10**50, True),
        ({"type": "integer"}, 10**4298, True),
    ],
)
def test_numbers_are_compared_exactly(tmp_path: Path, schema: dict[str, Any], value: float, fits: bool) -> None:
    assert (not found(tmp_path, {"properties": {"v": schema}}, {"v": value})) == fits


def test_an_integer_too_long_to_compare_is_refused_rather_than_read_wrongly(tmp_path: Path) -> None:
    rules = checker(tmp_path, {"properties": {"v": {"maximum": 3}}})
    findings = rules.check({"a": [{"v": 1}, -(10**4300)]}, 1)
    assert [(each.field, each.message) for each in findings] == [
        ("a[1]", "an integer of more than 4,299 digits, which cannot be compared")
    ]


def test_a_row_as_deep_as_rows_may_be_passes(tmp_path: Path) -> None:
    row: dict[str, Any] = {}
    for _ in range(126):
        row = {"a": row}
    schema = {"$defs": {"n": {"properties": {"a": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"}
    assert found(tmp_path, schema, row) == []


@pytest.mark.parametrize(
    ("draft", "schema", "row", "fields"),
    [
        ("http://json-schema.org/draft-04/schema#", {"minimum": 3, "exclusiveMinimum": True}, {"v": 3}, ["v"]),
        ("http://json-schema.org/draft-07/schema#", {"items": [{"type": "string"}], "additionalItems": False},
         {"v": ["a", 1]}, ["v"]),
        ("https://json-schema.org/draft/2019-09/schema", {"items": [{"type": "string"}]}, {"v": [1]}, ["v[0]"]),
        ("https://json-schema.org/draft/2020-12/schema", {"prefixItems": [{"type": "string"}]}, {"v": [1]}, ["v[0]"]),
    ],
)  # fmt: skip
def test_the_draft_is_the_one_that_the_schema_names(
    tmp_path: Path, draft: str, schema: dict[str, Any], row: dict[str, Any], fields: list[str]
) -> None:
    assert [field for field, _ in found(tmp_path, {"$schema": draft, "properties": {"v": schema}}, row)] == fields


def test_the_gate_reports_line_field_and_code_beside_what_lines_themselves_say(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    path.write_text('{"required": ["prompt"], "properties": {"prompt": {"type": "string"}}}', encoding="utf-8")
    dataset = tmp_path / "train.jsonl"
    dataset.write_text('{"prompt": "p"}\n{"prompt": 1}\n{"prompt": "p", "prompt": "q"}\n{"a": 1}\n{\n')
    result = DatasetValidator(dataset, path).validate()
    assert [(each.line, each.field, each.code, each.excerpt) for each in result.errors] == [
        (2, "prompt", "THK-DATA-021", "1"),
        (4, "prompt", "THK-DATA-021", '{"a": 1}'),
        (5, "", "THK-DATA-002", "{"),
    ]
    assert [(each.line, each.field, each.code) for each in result.warnings] == [(3, "prompt", "THK-DATA-008")]
    dataset.write_text('{"prompt": "p"}\n')
    assert DatasetValidator(dataset, path).validate().ok


def test_the_factory_takes_either_kind_of_schema(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text("{}")
    assert isinstance(row_checker(tmp_path / "schema.json"), JsonSchemaChecker)
    assert isinstance(row_checker([SchemaField("a")]), RowChecker)


_NUMBERS = st.integers(-3, 3) | st.sampled_from([1.0, 0.5, 2.0**70, 2**70])
_SCALARS = st.none() | st.booleans() | _NUMBERS | st.sampled_from(["", "a", "ab", "é"])
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
_TYPES = st.sampled_from(["string", "integer", "number", "boolean", "object", "array", "null"])


def _schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    named = st.dictionaries(st.sampled_from("abc"), inner, max_size=2)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": _TYPES | st.lists(_TYPES, min_size=1, max_size=3, unique=True),
            "properties": named,
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "b$"]), inner, max_size=1),
            "additionalProperties": inner | st.booleans(),
            "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
            "dependentRequired": st.just({"a": ["b"]}),
            "items": inner,
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "contains": inner,
            "uniqueItems": st.booleans(),
            "minItems": st.integers(0, 2),
            "maxItems": st.integers(0, 2),
            "minLength": st.integers(0, 2),
            "maxProperties": st.integers(0, 2),
            "minimum": st.integers(-2, 2),
            "exclusiveMaximum": st.integers(-2, 2),
            "multipleOf": st.sampled_from([1, 2, 0.5]),
            "enum": st.lists(_SCALARS, min_size=1, max_size=3),
            "const": _VALUES,
            "pattern": st.sampled_from(["^a", "b$", "."]),
            "not": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "oneOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
        },
    )


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    schema=_schemas(st.recursive(st.booleans(), _schemas, max_leaves=4)),
    row=st.dictionaries(st.sampled_from("abc"), _VALUES, max_size=3),
)
def test_any_schema_and_row_get_the_verdict_of_a_slower_library(
    tmp_path: Path, schema: dict[str, Any], row: dict[str, Any]
) -> None:
    assert (found(tmp_path, schema, row) == []) == jsonschema.Draft202012Validator(schema).is_valid(row)
