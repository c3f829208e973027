"""Every conforming JSON text is accepted as the value of a field, every other one refused, and nothing crashes.

The texts below go through the whole schema pass; `support.json_grammar` is RFC 8259 as a reference of its own.
"""

# ruff: noqa: E501 - the tables stay tables

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.json_grammar import conforms

from thinker.data.jsonl import MAX_DEPTH
from thinker.validation import DatasetValidator

# One of each production of the grammar, and each of its corners.
CONFORMING = (
    *("null", "true", "false", " null ", "\tnull\r", "0", "-0", "0.0", "-0.0", "10", "123456789", "-1", "1.5", "-1.5e-3"),
    *("0e1", "0e+1", "0E-1", "1e5", "1E5", "1e+5", "1E-5", "20e1", "1.5e10", "123.456e78", "1e-400", "-1e-400", "0e999"),
    *("9007199254740993", "18446744073709551615", "18446744073709551616", "-9223372036854775809", "1" * 400, "1" * 5000),
    *("-" + "9" * 60, "0." + "0" * 400 + "1", "1." + "3" * 400, "1e0000000005", "1e-0000000005", "0.1e00"),
    *('""', '" "', '"a"', r'"\""', r'"\\"', r'"\/"', r'"\b\f\n\r\t"', r'"\u0000"', r'"\u0020"', r'"\u00e9"', r'"\u20ac"'),
    *(r'"\ud834\udd1e"', r'"\uD834\uDD1E"', r'"\uFFFF"', r'"\uFFFE"', r'"\ufeff"', r'"\u2028\u2029"', r'"\\u0041"'),
    *(r'"\\\\ud800"', '"\u007f"', '"\u0080"', '"é"', '"€"', '"\U0001d11e"', '"\uffff"', '"\ufeff"', '"\u2028"', '"a/b"'),
    *(r'"\"\\\"\\"', '"\u200b"', '"null"', '"[1,2"', '"{"', '"}"', '","', '":"', "'\"'"[1:2] + "'" + '"', '"\U0010ffff"'),
    *("[]", "[ ]", "[null]", "[1,2]", "[ 1 , 2 ]", "[[]]", "[[],[]]", "[{}]", '["a",1,null,true,[],{}]', "[\t1\r]"),
    *("{}", "{ }", '{"a":1}', '{ "a" : 1 }', '{"a":1,"b":2}', '{"":0}', r'{"\u0061":1}', '{"a":{"a":{}}}', '{"a":[]}'),
    *('{"a b":1}', '{"a\\"b":1}', '{"\u20ac":1}', '{"a":null,"A":null}', '{"x":[{"y":[{}]}]}', r'{"\u0000":1}'),
    "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1),
    "[" + ",".join(["[]"] * 1000) + "]",
    '"' + "x" * 100_000 + '"',
)  # fmt: skip

NOT_CONFORMING = (
    *("", " ", "nul", "nulll", "Null", "TRUE", "True", "None", "undefined", "tru", "n", "truefalse", "null null", "nan"),
    *("NaN", "-NaN", "Infinity", "-Infinity", "+Infinity", "inf", "-inf", "+1", "++1", "--1", "-", "+", "- 1", "-a", "01"),
    *("-01", "00", "1.", "-1.", ".5", "-.5", "1.e5", "1e", "1e+", "1E", "1e-", "1e5.5", "1.2.3", "0x1", "0x", "1_000"),
    *("1,000", "1 000", "1a", "2.e3", "0.e1", "0e", "0e+", "9.e+", "1ee5", "e5", "१", "１", "1\u0661", "0b1", "0o7", "1f"),
    *("1L", "1n", '"', '"a', 'a"', "a", "'a'", "“a”", '"a" "b"', '"a"b', '"a"1', r'"\a"', r'"\x41"', r'"\0"', r'"\u"'),
    *(r'"\u0"', r'"\u00"', r'"\u004"', r'"\u00G0"', r'"\u 041"', r'"\U0041"', r'"\ "', r'"\'"', '"\\"', '"\\', r'"\\\"'),
    *(r'"\ud834\u"', r'"\ud834\"', '"\t"', '"\x00"', '"\x01"', '"\x1f"', '"a\rb"', '"\b"', "`a`", "\\u0022a\\u0022"),
    *("[", "]", "[1", "1]", "[1,]", "[,1]", "[,]", "[1,,2]", "[1 2]", "[1;2]", "[1:2]", '["a":1]', "[1]]", "[[1]", "(1)"),
    *("[1)", "[1}", "{1]", "[1,2", "[1,\t", "[*]", "[a]", "[-]", "[1]1", "[][]", "[],", ",[]", "[1]/**/", "[//x", "[#x"),
    *("{", "}", "{1}", "{a:1}", "{'a':1}", '{"a"}', '{"a":}', '{"a":1,}', '{,"a":1}', '{"a":1,,"b":2}', '{"a":1 "b":2}'),
    *('{"a" 1}', '{"a",1}', '{"a"::1}', '{:1}', '{"a":1}}', '{{"a":1}', '{"a":1', '{"a":', '{"a"', '{"', '{"a":1]', "{]"),
    *('{"a":1}{"b":2}', '{"a":1} x', '{null:1}', '{1:1}', '{[]:1}', '{"a":/*x*/1}', '{"a":1}//x', '{"a":1}#x', "{…}"),
    *("/**/1", "1/**/", "//x", "#", "!", "@", "&", "\ufeff1", "1\ufeff", "\u00a01", "1\u00a0", "\u20281", "\x0c1", "\x0b1"),
    *("<null>", "&quot;", "\\n", "\\u006eull", "=1", "a=1", "1;", "1,", ",1", ":", ",", "...", "\x00", "1\x00", "\x7f"),
    "[" * 100_000,
    '{"":' * 50_000,
    '[{"":' * 50_000,
    '"' + "\\" * 100_001 + '"',
)  # fmt: skip

# Conforming, and refused for what they hold (DESIGN 4.5), or accepted with a warning.
OUTCOMES = (
    (r'"\ud800"', "THK-DATA-005"),
    (r'"\udc00"', "THK-DATA-005"),
    (r'"\ude00\ud800"', "THK-DATA-005"),
    (r'"\ud800\ud800"', "THK-DATA-005"),
    (r'"\ud83d\u0041"', "THK-DATA-005"),
    (r'["x", {"y": "\udfff"}]', "THK-DATA-005"),
    (r'{"\ud800": 1}', "THK-DATA-005"),
    ("1e309", "THK-DATA-004"),
    ("-1e309", "THK-DATA-004"),
    ("[[1e999]]", "THK-DATA-004"),
    ('{"a": 1' + "0" * 309 + ".0}", "THK-DATA-004"),
    ("0.1e310", "THK-DATA-004"),
    ('{"a": 1, "a": 1}', "THK-DATA-008"),
    ('[{"a": 1, "b": 2, "a": 3}]', "THK-DATA-008"),
    (r'{"a": 1, "\u0061": 2}', "THK-DATA-008"),
    ('{"a": {"b": {}, "b": {}}}', "THK-DATA-008"),
    ("[" * MAX_DEPTH + "]" * MAX_DEPTH, "THK-DATA-006"),
    ('{"a":' * 10_000 + "1" + "}" * 10_000, "THK-DATA-006"),
    ("[" * 199 + "1" + "]" * 199, "THK-DATA-006"),
)

BAD_UTF8 = (
    *(b"\xff", b"\x80", b"\xc0\xaf", b"\xc1\xbf", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf4\x90\x80\x80"),
    *(b"\xf8\x88\x80\x80\x80", b"\xe2\x82", b"\xf0\x9d\x84", b"\xc3(", b"\xfe\xff", b"\xff\xfe", b"a\xe9b", b"\xef\xbb"),
)  # fmt: skip


def outcomes(folder: Path, values: Iterable[bytes]) -> dict[int, set[str]]:
    """The codes that the schema pass reports for each value's row, by the value's place."""
    path = folder / "rows.jsonl"
    path.write_bytes(b"".join(b'{"v": ' + value + b"}\n" for value in values))
    result = DatasetValidator(path, []).validate()
    found: dict[int, set[str]] = {}
    for problem in itertools.chain(result.errors, result.warnings):
        if problem.line is not None:
            found.setdefault(problem.line - 1, set()).add(problem.code)
    return found


def encoded(texts: Iterable[str]) -> list[bytes]:
    return [text.encode("utf-8") for text in texts]


class TestCatalogue:
    def test_the_catalogue_is_what_the_grammar_says(self) -> None:
        assert [text for text in CONFORMING if not conforms(text.encode())] == []
        assert [text for text in NOT_CONFORMING if conforms(text.encode())] == []
        assert [text for text, _ in OUTCOMES if not conforms(text.encode())] == []

    def test_every_conforming_text_is_accepted_without_a_word(self, tmp_path: Path) -> None:
        assert outcomes(tmp_path, encoded(CONFORMING)) == {}

    def test_every_other_text_is_refused(self, tmp_path: Path) -> None:
        found = outcomes(tmp_path, encoded(NOT_CONFORMING))
        accepted = [text[:40] for place, text in enumerate(NOT_CONFORMING) if not found.get(place)]
        assert accepted == []

    def test_bytes_that_are_not_utf8_are_refused(self, tmp_path: Path) -> None:
        found = outcomes(tmp_path, [b'"' + content + b'"' for content in BAD_UTF8])
        assert found == {place: {"THK-DATA-001"} for place in range(len(BAD_UTF8))}

    @pytest.mark.parametrize(("text", "code"), OUTCOMES, ids=lambda value: value[:20])
    def test_what_conforms_and_cannot_be_kept_has_a_code_of_its_own(self, tmp_path: Path, text: str, code: str) -> None:
        assert outcomes(tmp_path, [text.encode()]) == {0: {code}}

    @pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
    def test_numbers_that_json_does_not_have_are_told_as_such(self, tmp_path: Path, word: str) -> None:
        assert outcomes(tmp_path, [word.encode()]) == {0: {"THK-DATA-003"}}


def expected_codes(value: bytes) -> set[str] | None:
    """What a row holding `value` must be told; None: refused, by whatever code."""
    row = b'{"v": ' + value + b"}"
    if not conforms(row):
        return None
    pairs: list[bool] = []

    def collect(items: list[tuple[str, object]]) -> dict[str, object]:
        pairs.append(len(dict(items)) < len(items))
        return dict(items)

    parsed = json.loads(row, object_pairs_hook=collect, parse_int=float, parse_float=_Float)
    codes = {"THK-DATA-008"} if any(pairs) else set()
    if any(math.isinf(float(number)) for number in _floats(parsed)):
        codes.add("THK-DATA-004")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in json.dumps(parsed, ensure_ascii=False)):
        codes.add("THK-DATA-005")
    return codes


class _Float(str):
    """The literal of a number with a point or an exponent."""


def _floats(value: object) -> Iterable[_Float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _floats(item)
    elif isinstance(value, _Float):
        yield value


TOKENS = ("{", "}", "[", "]", ",", ":", '"', "\\", "/", "-", "+", ".", "0", "1", "9", "e", "E", "u", "n", "t", "f", " ",
          "\t", "\r", '"a"', '"b"', '"a":', "null", "true", "1e5", "\\u00", "\\ud8", "\x00", "é", "\ufeff")  # fmt: skip


def mutated(seed: int) -> list[bytes]:
    """A few hundred texts near the catalogue's, the same for the same seed."""
    draw = random.Random(seed)
    short = [text for text in (*CONFORMING, *NOT_CONFORMING, *(text for text, _ in OUTCOMES)) if len(text) < 60]
    found = []
    for _ in range(400):
        content = bytearray(draw.choice(short).encode())
        for _ in range(draw.randint(1, 3)):
            place = draw.randint(0, len(content))
            match draw.randrange(4):
                case 0:
                    content[place:place] = draw.choice(TOKENS).encode()
                case 1:
                    del content[place : place + draw.randint(1, 3)]
                case 2:
                    content[place : place + 1] = bytes([draw.randrange(256)])
                case _:
                    content[place:place] = draw.choice(short).encode()
        found.append(bytes(content).replace(b"\n", b" "))
    return found


class TestFuzzing:
    @pytest.mark.parametrize("seed", range(25))
    def test_mutated_texts_are_judged_as_the_grammar_judges_them(self, tmp_path: Path, seed: int) -> None:
        values = mutated(seed)
        found = outcomes(tmp_path, values)
        for place, value in enumerate(values):
            expected, got = expected_codes(value), found.get(place, set())
            if expected is None:
                assert got - {"THK-DATA-008"}, (seed, value)
            else:
                assert got == expected, (seed, value)

    @given(content=st.binary(max_size=200))
    def test_no_bytes_crash_the_schema_pass(self, tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
        path = tmp_path_factory.mktemp("bytes") / "rows.jsonl"
        path.write_bytes(content)
        result = DatasetValidator(path, []).validate()
        assert result.size_bytes == len(content)
