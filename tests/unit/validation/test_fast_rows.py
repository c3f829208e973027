"""The quick look never accepts what the exact path has something to say about, and accepts what is ordinary."""

import json
import random
import re
from typing import Any

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from support.random_schemas import rows, schemas

from thinker.config.pipeline_models import SchemaField
from thinker.data.jsonl import MAX_DEPTH, RawLine, parse_row
from thinker.tasks.prompt_completion import PromptCompletion
from thinker.tasks.scifact_claims import ScifactClaims
from thinker.validation import fast_rows
from thinker.validation.fast_rows import FastRows
from thinker.validation.rules import RowChecker

ANYTHING = FastRows.of_fields([])
# Rare enough to be left to the exact path.
DOTTED_KEY = re.compile(r'"[^"]*\.[^"]*":')


def require_sound(fast: FastRows, line: bytes, schema: list[SchemaField]) -> bool:
    """Whether `line` is accepted; fails if the exact path has something to say about it then."""
    row = fast.accepted(line)
    if row is None:
        return False
    parsed = parse_row(RawLine(1, line))
    assert parsed.problems == ()
    assert repr(parsed.value) == repr(row)  # 1 and 1.0, and the order of keys, too
    assert RowChecker(schema).check(row, 1) == []
    return True


@settings(max_examples=500, deadline=None)
@given(schema=schemas, row=rows)
def test_for_any_schema_an_accepted_row_breaks_no_rule(schema: list[SchemaField], row: dict[str, Any]) -> None:
    accepted = require_sound(FastRows.of_fields(schema), json.dumps(row).encode(), schema)
    event("accepted" if accepted else "not accepted")


@settings(max_examples=500, deadline=None)
@given(schema=schemas, row=rows)
def test_what_breaks_no_rule_is_accepted(schema: list[SchemaField], row: dict[str, Any]) -> None:
    line = json.dumps(row)
    if DOTTED_KEY.search(line) or RowChecker(schema).check(row, 1):
        return
    assert FastRows.of_fields(schema).accepted(line.encode()) == row


@pytest.mark.parametrize("kind", ["number", "integer", "any"])
@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"1" + b"0" * 400 + b".0"])
def test_a_number_that_overflows_is_never_accepted(kind: Any, number: bytes) -> None:
    field = SchemaField("a", kind)
    items = SchemaField("a", "array", items=SchemaField("item", kind))
    assert FastRows.of_fields([field]).accepted(b'{"a": %s}' % number) is None
    assert FastRows.of_fields([items]).accepted(b'{"a": [%s]}' % number) is None
    assert FastRows.of_fields([field]).accepted(b'{"a": 1, "b": [{"c": %s}]}' % number) is None


@pytest.mark.parametrize(
    ("allowed", "value", "accepted"),
    [
        (True, b"1", False),
        (1, b"true", False),
        (0, b"false", False),
        (1, b"1.0", True),
        (1.0, b"1", True),
        ("1", b"1", False),
    ],
)
def test_the_values_of_an_enum_are_told_apart_by_type_but_for_numbers(
    allowed: Any, value: bytes, accepted: bool
) -> None:
    fields = [SchemaField("a", "any", enum=(allowed,))]
    assert require_sound(FastRows.of_fields(fields), b'{"a": %s}' % value, fields) == accepted


@settings(max_examples=300)
@given(st.binary(max_size=40).map(lambda inner: b'{"a": ' + inner + b"}") | st.binary(max_size=12))
@example(b'{"a": 1e999}')
@example(b'{"a": -1e999}')
@example(b'{"a": ' + b"9" * 400 + b".0}")
@example(b'{"a": NaN}')
@example(b'{"a": "\\ud800"}')
@example(b'{"\\udc00": 1}')
@example(b'{"a": 1, "a": 2}')
@example(b'{"a": 1, "\\u0061": 2}')
@example(b'{"a": {"b": [{"c": 1, "c": 1}]}}')
@example(b'{"a": "\xed\xa0\x80"}')
@example(b'{"a": "\xc0\x80"}')
@example(b'\xef\xbb\xbf{"a": 1}')
@example(b"[]")
@example(b"null")
@example(b"")
@example(b"{}\x00")
@example(b"{}\x0c")
def test_any_bytes_get_the_verdict_of_the_exact_reader(line: bytes) -> None:
    require_sound(ANYTHING, line, [])


@pytest.mark.parametrize("depth", [fast_rows._FREE_LEVELS, MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, 250])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_nesting_is_accepted_only_where_it_is_allowed(depth: int, opening: bytes, closing: bytes) -> None:
    line = b'{"a":' + opening * (depth - 1) + b"1" + closing * (depth - 1) + b"}"
    assert require_sound(ANYTHING, line, []) == (depth <= fast_rows._FREE_LEVELS)


@pytest.mark.parametrize("levels", [1, 15, 16, 17, 110])
@pytest.mark.parametrize("kind", ["fields", "items", "dots"])
def test_a_deep_schema_and_deep_values_below_it_stay_sound(kind: str, levels: int) -> None:
    if kind == "dots":
        field = SchemaField(name=".".join("a" * levels), type="any")
    else:
        field = SchemaField(name="a", type="any")
        for _ in range(levels):
            inner = {"fields": (field,)} if kind == "fields" else {"items": field}
            field = SchemaField(name="a", type="object" if kind == "fields" else "array", **inner)
    opening, closing = ("[", "]") if kind == "items" else ('{"a":', "}")
    fast = FastRows.of_fields([field])
    for more in range(180):
        accepted = require_sound(fast, f'{{"a":{opening * more}1{closing * more}}}'.encode(), [field])
        assert accepted or (levels, more) != (1, 1)


SCIFACT = (
    b'{"prompt": "Hypothesis: caf\xc3\xa9\\n\\u00e9", "completion": "CLAIM[c1]: x", "metadata": '
    b'{"claim_id": 3, "doc_ids": [31715818, "7"], "source": "allenai/scifact", "license": "CC-BY-4.0"}}'
)
CHAT = (
    b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}], "n": [1.5, {"x": null}]}'
)
SEEDS = [
    (SCIFACT, list(ScifactClaims.default_schema)),
    (CHAT, list(PromptCompletion.default_schema)),
    (
        b'{"a": -0.5e-3, "b": {"c": [1, 2.0, 123456789012345678901]}, "d.e": true, "d": {"e": "x"}, "n": null}',
        [
            SchemaField(name="a", type="number", min=-1, max=1, enum=(-0.0005, 1)),
            SchemaField(name="b.c", type="array", min_length=2, max_length=4, items=SchemaField("item", "integer")),
            SchemaField(name="d.e", type=("boolean", "string"), pattern="^x"),
            SchemaField(name="n", type=("null", "integer")),
        ],
    ),
]
PIECES = [
    b'"', b"\\", b"\\u", b"\\ud83d", b"\\ude00", b"{", b"}", b"[", b"]", b",", b":", b"0", b"-", b".", b"e", b"E400",
    b"1e308", b"NaN", b"Infinity", b"null", b"true", b"false", b" ", b"\t", b"\r", b"\x00", b"\x0b", b"\x7f", b"\x80",
    b"\xc3\xa9", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\xc2\xa0", b'"a":1,', b'{"a":1,"a":2}',
    b"9" * 25,
]  # fmt: skip


def mutated(line: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 3)):
        start = chance.randrange(len(line) + 1)
        end = min(len(line), start + chance.choice([0, 0, 1, 1, 2, 8]))
        replacement = chance.choice([b"", chance.choice(PIECES), line[chance.randrange(len(line) + 1) :][:8]])
        line = line[:start] + replacement + line[end:] or b" "
    return line


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("line", "schema"), SEEDS, ids=["scifact", "chat", "mixed"])
def test_a_mutated_line_gets_the_verdict_of_the_exact_path(line: bytes, schema: list[SchemaField], seed: int) -> None:
    chance = random.Random(seed)
    fast = FastRows.of_fields(schema)
    accepted = sum(require_sound(fast, mutated(line, chance), schema) for _ in range(1000))
    assert 0 < accepted < 1000


@pytest.mark.parametrize(
    ("row", "schema"),
    [
        (SCIFACT, ScifactClaims.default_schema),
        (CHAT, PromptCompletion.default_schema),
        (
            b' {"prompt": "p", "completion": "c", "extra": {"n": [1, 0.5, true, null, "x"]}} \r\n',
            ScifactClaims.default_schema,
        ),
    ],
)
def test_an_ordinary_row_of_a_task_is_accepted(row: bytes, schema: tuple[SchemaField, ...]) -> None:
    assert FastRows.of_fields(schema).accepted(row) is not None


def test_a_verdict_counts_lines_and_names_those_that_were_not_accepted() -> None:
    block = b'{"a": 1}\n\n[]\n{"a": 2}\r\n{"a": 1'
    lines, suspects = ANYTHING.verdict(block)
    assert (lines, list(suspects)) == (5, [1, 2, 4])
    assert (ANYTHING.verdict(b"").lines, list(ANYTHING.verdict(b"").suspects)) == (0, [])


def test_text_of_a_schema_never_becomes_code() -> None:
    name = "x')\nraise SystemExit('"
    fields = [SchemaField(name=name, type="string", pattern=r"^'\)$", enum=("')",))]
    fast = FastRows.of_fields(fields)
    assert fast.accepted(json.dumps({name: "')"}).encode()) == {name: "')"}
    assert fast.accepted(json.dumps({name: "("}).encode()) is None


def test_a_checker_is_not_asked_about_what_it_cannot_compare() -> None:
    asked: list[Any] = []
    fast = FastRows.of_checker(lambda row: asked.append(row) or True)  # type: ignore[func-returns-value]
    lines = [b'{"a": 1}', b"[1]", b'{"a": 1e999}', b'{"a": [18446744073709551617]}', b'{"a": [-1, 1.5, {"b": true}]}']
    assert [fast.accepted(line) is not None for line in lines] == [True, False, False, False, True]
    assert asked == [{"a": 1}, {"a": [-1, 1.5, {"b": True}]}]
