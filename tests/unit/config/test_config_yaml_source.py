from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinker.config.yaml_source import parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-4", 2e-4),
        ("2E5", 2e5),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("010", 10),
        ("+3", 3),
        ("0o17", 15),
        ("0x1F", 31),
        ("~", None),
        ("NULL", None),
        ("TRUE", True),
        ("yes", "yes"),
        ("off", "off"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("1:30", "1:30"),
        ("2025-11-10", "2025-11-10"),
        ("'2e-4'", "2e-4"),
        ("!!str 5", "5"),
        ("!!float 5", 5.0),
        ("", None),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: Any) -> None:
    parsed = parse_yaml(text, "f")
    assert parsed.problems == []
    assert parsed.value == value
    assert type(parsed.value) is type(value)


def test_a_yaml_1_1_directive_does_not_bring_its_booleans_back() -> None:
    assert parse_yaml("%YAML 1.1\n---\na: yes", "f").value == {"a": "yes"}


def test_not_a_number_is_read() -> None:
    assert math.isnan(parse_yaml(".nan", "f").value)


def test_keys_and_values_have_line_and_column_from_one() -> None:
    parsed = parse_yaml("a:\n  b: 1\n  c:\n    - x\n    - y: 2\n", "f")
    assert parsed.keys["a", "b"] == (2, 3)
    assert parsed.values["a", "b"] == (2, 6)
    assert parsed.values["a", "c", 0] == (4, 7)
    assert parsed.values["a", "c", 1, "y"] == (5, 10)


def test_a_value_left_out_has_a_key_but_no_place_of_its_own() -> None:
    parsed = parse_yaml("a:\nb: 1\n", "f")
    assert parsed.value == {"a": None, "b": 1}
    assert parsed.keys["a",] == (1, 1)
    assert ("a",) not in parsed.values


def test_an_alias_stands_for_its_anchor_and_shares_nothing_with_it() -> None:
    value = parse_yaml("a: &x [1, 2]\nb: *x\n", "f").value
    assert value == {"a": [1, 2], "b": [1, 2]}
    assert value["a"] is not value["b"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3", "f:3:1: a: duplicate key, first given in line 1"),
        ("s:\n  k: 1\n  k: 2", "f:3:3: s.k: duplicate key, first given in line 2"),
        ("a:\n\tb: 1", "f:2:1: bad YAML: a tab; indent with spaces"),
        ("a: [1", "f:1:6: bad YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: b: c", "f:1:5: bad YAML: a colon where no key can end"),
        ("a: @x", "f:1:4: bad YAML: found character '@' that no value can start with"),
        ("- a\nb: 1", "f:2:1: bad YAML: does not go on with what begins in line 1"),
        ("a: 'x\n", "f:2:1: bad YAML: found unexpected end of stream"),
        ("a: *x", "f:1:4: bad YAML: found undefined alias 'x' (text that begins with '*' needs quotes)"),
        ("a: 1\n---\nb: 2", "f:2:1: bad YAML: a second document"),
        ("ab: \x01", "f:1:5: bad YAML: the character '\\x01' is not allowed"),
        ("a: !secret x", "f:1:4: a: the tag '!secret' is not allowed"),
        ("a: !!python/name:os.system x", "f:1:4: a: the tag"),
        ("a: !!int x", "f:1:4: a: not a value of type int"),
        ("a: !!str {b: 1}", "f:1:4: a: the tag"),
        ("a: " + "9" * 5000, "f:1:4: a: not a value of type int"),
        ("a: &x [*x]", "f:1:4: a[0]: an alias inside what it stands for"),
        ("a: {<<: {b: 1}}", "f:1:5: a: merge keys (<<) are not YAML 1.2"),
        ("1: a", "f:1:1: a key that is not text; put it in quotes"),
        ("null: a", "f:1:1: a key that is not text; put it in quotes"),
        ("? [a]\n: 1", "f:1:3: a key that is not text; put it in quotes"),
        ('a: "\\0"', "f:1:4: a: text with a NUL character"),
        ('a: "\\ud800"', "f:1:4: a: text with a NUL character or half a surrogate pair"),
        ("a: " + "[" * 1200, "f:1:1: bad YAML: nested too deeply"),
    ],
)
def test_bad_yaml_is_one_line_with_its_place(text: str, problem: str) -> None:
    problems = parse_yaml(text, "f").problems
    assert len(problems) == 1
    assert str(problems[0]).startswith(problem)
    assert "\n" not in str(problems[0])


def test_all_duplicates_are_told() -> None:
    assert len(parse_yaml("a: 1\na: 2\nb: 1\nb: 2\n", "f").problems) == 2


def test_aliases_that_multiply_are_refused() -> None:
    lines = ["x0: &x0 [a, a, a, a, a, a, a, a, a, a]"]
    lines += [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]" for n in range(1, 12)]
    problems = parse_yaml("\n".join(lines), "f").problems
    assert [p.message for p in problems] == ["too large: more than 100,000 values, aliases written out"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "f:1:1: the file is empty"),
        (b"# only a comment\n", "f:1:1: the file is empty"),
        (b"\n- a\n", "f:2:1: expected keys and values at the top level (key: value)"),
        (b"text\n", "f:1:1: expected keys and values at the top level (key: value)"),
        (b"a: 1\nb: \xff\n", "f:2:4: not UTF-8: byte 0xff"),
    ],
)
def test_a_file_that_is_no_configuration_is_told(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(content)
    assert [str(p) for p in read_yaml(path, "f").problems] == [problem]


def test_a_byte_order_mark_is_accepted_and_moves_no_column(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    parsed = read_yaml(path, "f")
    assert parsed.value == {"a": 1, "b": 2}
    assert parsed.keys["a",] == (1, 1)
    assert parsed.keys["b",] == (2, 1)


def test_a_missing_file_and_a_folder_are_told_with_the_resolved_path(tmp_path: Path) -> None:
    for path in (tmp_path / "no.yaml", tmp_path):
        (problem,) = read_yaml(path, "f").problems
        assert str(problem).startswith("f: cannot be read: ")
        assert str(path) in str(problem)


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    # JSON leaves these characters as they are; YAML allows them only escaped.
    | st.text(st.characters(codec="utf-8", exclude_characters="\0\x7f\ufffe\uffff", exclude_categories=("Cc", "Cn"))),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc_. -1é", min_size=1), inner, max_size=4),
    max_leaves=12,
)


@given(value=_json)
def test_json_is_read_as_the_yaml_it_is(value: Any) -> None:
    parsed = parse_yaml(json.dumps(value), "f")
    assert parsed.problems == []
    assert parsed.value == value


@given(text=st.text(max_size=60) | st.text("a:-[]{}#&*!|>'\"%@`,? \n\t0", max_size=40))
def test_no_text_makes_the_reader_fail(text: str) -> None:
    parsed = parse_yaml(text, "f")
    for problem in parsed.problems:
        assert str(problem).startswith("f:")
        assert "\n" not in str(problem)
