"""Random schemas, and random rows that often have to do with them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from thinker.config.pipeline_models import SchemaField

NAMES = ["a", "b", "a.b", "b.a.c", "c"]
TYPES = ["string", "integer", "number", "boolean", "object", "array", "null", "any"]
TEXTS = ["", " ", "a", "ab", "1", "true"]
NUMBERS = [0, 1, -1, 1.0, 0.5, 2**70]

scalars = st.sampled_from([*TEXTS, *NUMBERS, True, False, None])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c", "a.c"]), inner),
    max_leaves=6,
)
rows = st.dictionaries(st.sampled_from(NAMES), values)


def fields(inner: st.SearchStrategy[Any], name: st.SearchStrategy[str]) -> st.SearchStrategy[SchemaField]:
    some = st.none()
    return st.builds(
        SchemaField,
        name=name,
        type=st.sampled_from(TYPES) | st.lists(st.sampled_from(TYPES), min_size=1, max_size=3).map(tuple),
        required=st.booleans(),
        allow_empty=st.booleans(),
        pattern=some | st.sampled_from(["a", "^b", "1$"]),
        min=some | st.sampled_from([0.0, 1.0]),
        max=some | st.sampled_from([0.5, 1.0]),
        min_length=some | st.integers(0, 2),
        max_length=some | st.integers(0, 2),
        enum=some | st.lists(scalars, min_size=1, max_size=4).map(tuple),
        unique=st.booleans(),
        items=inner,
        fields=some | inner.map(lambda field: None if field is None else (field,)),
    )


names = st.sampled_from(NAMES)
schemas = st.lists(fields(st.none() | fields(st.none(), names), names), max_size=3, unique_by=lambda field: field.name)
