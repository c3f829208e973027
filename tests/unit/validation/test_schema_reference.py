"""The validator's verdict on random schemas and rows equals that of a slow and obvious reference."""

import json
import re
from pathlib import Path
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st
from support.random_schemas import rows, schemas

from thinker.config.pipeline_models import SchemaField
from thinker.validation import DatasetValidator

CODES = {
    "missing": "THK-DATA-010",
    "type": "THK-DATA-011",
    "empty": "THK-DATA-012",
    "pattern": "THK-DATA-013",
    "min": "THK-DATA-014",
    "max": "THK-DATA-015",
    "min_length": "THK-DATA-016",
    "max_length": "THK-DATA-017",
    "enum": "THK-DATA-018",
    "unique": "THK-DATA-019",
}


def reference(schema: list[SchemaField], dataset: list[dict[str, Any]]) -> list[tuple[int, str, str]]:
    seen: list[tuple[int, str, Any]] = []
    found: list[tuple[int, str, str]] = []

    def visit(field: SchemaField, place: str, present: bool, value: Any, path: str, line: int) -> None:
        def report(rule: str) -> None:
            found.append((line, path, CODES[rule]))

        types = [field.type] if isinstance(field.type, str) else list(field.type)
        null_is_fine = "null" in types or ("any" in types and field.enum is not None and None in field.enum)
        if not present or (value is None and not null_is_fine):
            if field.required:
                report("missing")
            return
        if not (value is None or any(fits(value, kind) for kind in types)):
            report("type")
            return
        if not field.allow_empty and (value in ([], {}) or (isinstance(value, str) and value.strip() == "")):
            report("empty")
            return
        number = isinstance(value, int | float) and not isinstance(value, bool)
        sized = isinstance(value, str | list | dict)
        if field.pattern is not None and isinstance(value, str) and re.search(field.pattern, value) is None:
            report("pattern")
        if field.min is not None and number and value < field.min:
            report("min")
        if field.max is not None and number and value > field.max:
            report("max")
        if field.min_length is not None and sized and len(value) < field.min_length:
            report("min_length")
        if field.max_length is not None and sized and len(value) > field.max_length:
            report("max_length")
        if field.enum is not None and not any(same(value, allowed) for allowed in field.enum):
            report("enum")
        if field.unique and value is not None:
            if any(name == place and same(value, earlier) for _, name, earlier in seen):
                report("unique")
            seen.append((line, place, value))
        if field.items is not None and isinstance(value, list):
            for position, item in enumerate(value):
                visit(field.items, place + "/items", True, item, f"{path}[{position}]", line)
        if field.fields is not None and isinstance(value, dict):
            for inner in field.fields:
                visit(inner, f"{place}/{inner.name}", *find(value, inner.name), f"{path}.{inner.name}", line)

    for line, row in enumerate(dataset, start=1):
        for number, field in enumerate(schema):
            visit(field, str(number), *find(row, field.name), field.name, line)
    return found


def find(parent: dict[str, Any], name: str) -> tuple[bool, Any]:
    if name in parent:
        return True, parent[name]
    head, _, rest = name.partition(".")
    if rest and isinstance(parent.get(head), dict):
        return find(parent[head], rest)
    return False, None


def fits(value: Any, kind: str) -> bool:
    if kind == "any":
        return True
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer":
        return isinstance(value, int | float) and value == int(value)
    kinds = {"string": str, "number": int | float, "object": dict, "array": list, "boolean": bool, "null": type(None)}
    return isinstance(value, kinds[kind])


def same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


@settings(max_examples=200, deadline=None)
@given(schema=schemas, dataset=st.lists(rows, min_size=1, max_size=4), repeats=st.integers(0, 2))
def test_the_verdict_equals_the_reference(
    tmp_path_factory: Any, schema: list[SchemaField], dataset: list[dict[str, Any]], repeats: int
) -> None:
    dataset = dataset + dataset[:repeats]
    path: Path = tmp_path_factory.mktemp("reference") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in dataset))
    result = DatasetValidator(path, schema).validate()
    expected = reference(schema, dataset)
    assert [(problem.line, problem.field, problem.code) for problem in result.errors] == expected
    assert result.rows == len(dataset)
    for code in {code for _, _, code in expected}:
        event(code)
