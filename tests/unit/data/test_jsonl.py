"""Reading JSON Lines: bytes, hashes, and the table of DESIGN 4.5."""

import hashlib
import json
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.compressed import compress

from thinker.data.dataset_files import iter_rows
from thinker.data.jsonl import MAX_DEPTH, DataRow, HashingLines, RawLine, RowCode, parse_row
from thinker.errors import DataError

VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5)


def parse(content: bytes | str):
    return parse_row(RawLine(1, content.encode() if isinstance(content, str) else content))


def codes_of(content: bytes | str) -> list[tuple[str, str]]:
    return [(problem.code, problem.field) for problem in parse(content).problems]


def write(folder: Path, content: bytes, name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def lines_of(path: Path) -> list[tuple[int, bytes]]:
    return [(line.number, line.content) for line in HashingLines(path)]


class TestHashingLines:
    def test_lines_are_numbered_from_one_and_lose_their_ends(self, tmp_path: Path) -> None:
        path = write(tmp_path, b'{"a":1}\r\n\n{"b":2}\nlast')
        assert lines_of(path) == [(1, b'{"a":1}'), (2, b""), (3, b'{"b":2}'), (4, b"last")]

    def test_a_carriage_return_inside_a_line_stays(self, tmp_path: Path) -> None:
        assert lines_of(write(tmp_path, b"a\rb\r\r\n")) == [(1, b"a\rb\r")]

    def test_an_empty_file_has_no_lines(self, tmp_path: Path) -> None:
        lines = HashingLines(write(tmp_path, b""))
        assert list(lines) == []
        assert (lines.size_bytes, lines.sha256) == (0, hashlib.sha256().hexdigest())

    def test_the_byte_order_mark_is_reported_and_removed_at_the_start_only(self, tmp_path: Path) -> None:
        lines = HashingLines(write(tmp_path, b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n"))
        assert [line.content for line in lines] == [b"a", b"\xef\xbb\xbfb"]
        assert lines.has_byte_order_mark

    def test_hash_and_size_cover_every_byte(self, tmp_path: Path) -> None:
        content = b"\xef\xbb\xbf{}\r\n\n  \nlast"
        lines = HashingLines(write(tmp_path, content))
        assert len(list(lines)) == 4
        assert lines.sha256 == hashlib.sha256(content).hexdigest()
        assert lines.size_bytes == len(content)

    def test_drain_hashes_what_was_not_read(self, tmp_path: Path) -> None:
        content = b"one\n" * 1_000_000
        with HashingLines(write(tmp_path, content)) as lines:
            assert next(iter(lines)).content == b"one"
            with pytest.raises(RuntimeError, match="not been read to its end"):
                _ = lines.sha256
            lines.drain()
        assert lines.sha256 == hashlib.sha256(content).hexdigest()

    def test_a_line_longer_than_many_blocks_stays_whole(self, tmp_path: Path) -> None:
        long = b"x" * 5_000_000
        assert lines_of(write(tmp_path, long + b"\r\ny")) == [(1, long), (2, b"y")]

    def test_a_line_end_cut_in_two_by_a_block_is_one_line_end(self, tmp_path: Path) -> None:
        long = b"x" * ((1 << 20) - 1)
        assert lines_of(write(tmp_path, long + b"\r\ny\n")) == [(1, long), (2, b"y")]

    @pytest.mark.parametrize("name", ["absent.jsonl", "."])
    def test_a_file_that_cannot_be_read_is_named(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(DataError, match="cannot read"):
            list(HashingLines(tmp_path / name))

    @pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file whose beginning cannot be read")
    def test_a_read_that_fails_names_the_file_and_the_place(self) -> None:
        with pytest.raises(DataError, match="cannot read /proc/self/mem past byte 0"):
            list(HashingLines(Path("/proc/self/mem")))

    @pytest.mark.parametrize("suffix", [".gz", ".zst"])
    def test_a_compressed_file_has_the_lines_of_its_text_and_the_hash_of_its_bytes(
        self, tmp_path: Path, suffix: str
    ) -> None:
        text = b"\xef\xbb\xbf" + b'{"a": "' + b"x" * 2_000_000 + b'"}\r\n\nlast'
        content = compress(text, suffix)
        with HashingLines(write(tmp_path, content, f"rows.jsonl{suffix}")) as lines:
            found = [(line.number, line.content) for line in lines]
        assert found == lines_of(write(tmp_path, text))
        assert lines.has_byte_order_mark
        assert (lines.size_bytes, lines.sha256) == (len(content), hashlib.sha256(content).hexdigest())

    def test_drain_hashes_a_compressed_file_without_decompressing_it(self, tmp_path: Path) -> None:
        content = compress(b"one\n" * 1000, ".gz") + b"garbage"
        with HashingLines(write(tmp_path, content, "rows.jsonl.gz")) as lines:
            lines.drain()
        assert lines.sha256 == hashlib.sha256(content).hexdigest()

    def test_a_compressed_file_that_is_cut_off_is_no_shorter_file(self, tmp_path: Path) -> None:
        path = write(tmp_path, compress(b"one\ntwo\n", ".zst")[:-1], "rows.jsonl.zst")
        with pytest.raises(DataError, match=r"rows\.jsonl\.zst is cut off"):
            list(HashingLines(path))

    @given(
        pieces=st.lists(st.sampled_from([b"a", b"", b"\r", b"{}", b" ", b"\xff"])), end=st.sampled_from([b"\n", b""])
    )
    def test_lines_are_those_of_a_plain_split(self, tmp_path_factory, pieces: list[bytes], end: bytes) -> None:
        content = b"\n".join(pieces) + end
        expected = content.split(b"\n")
        if expected[-1] == b"":
            expected.pop()
        ended = [line.removesuffix(b"\r") for line in expected]
        if expected and not content.endswith(b"\n"):
            ended[-1] = expected[-1]
        assert [line for _, line in lines_of(write(tmp_path_factory.mktemp("split"), content))] == ended


class TestParseRow:
    def test_an_object_is_a_row(self) -> None:
        parsed = parse(' {"a": [1, 2.5, "x", null, true, {"b": {}}]}\t')
        assert parsed.value == {"a": [1, 2.5, "x", None, True, {"b": {}}]}
        assert parsed.problems == ()

    @pytest.mark.parametrize(
        ("content", "kind"),
        [
            ("[1]", "an array"),
            ('"x"', "a string"),
            ("1", "an integer"),
            ("1.5", "a number"),
            ("null", "null"),
            ("true", "a boolean"),
            ("NaN", "a number"),
        ],
    )
    def test_other_json_is_no_row(self, content: str, kind: str) -> None:
        parsed = parse(content)
        assert parsed.value is None
        assert parsed.problems[0].code is RowCode.ROW_NOT_OBJECT
        assert parsed.problems[0].message == f"a row must be a JSON object, not {kind}"

    @pytest.mark.parametrize(
        "content",
        [
            "{",
            "{'a': 1}",
            '{"a": 1,}',
            '{"a" 1}',
            '{"a": 1} {"b": 2}',
            '{"a": 01}',
            '{"a": "\t"}',
            "x",
            '{"a": tru}',
            "\0",
            '\ufeff{"a": 1}',
            '{"a": 1.}',
            '{"a": +1}',
            '{"a": "\\x"}',
            '{"a": "\\u12"}',
            '{"a": /**/ 1}',
        ],
    )
    def test_what_is_not_json_is_refused(self, content: str) -> None:
        assert codes_of(content) == [(RowCode.INVALID_JSON, "")]

    def test_invalid_json_says_in_which_column(self) -> None:
        (problem,) = parse('{"a": 1,, "b": 2}').problems
        assert problem.message.startswith("invalid JSON at column 9: expecting")
        assert problem.at == 8

    @pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
    def test_numbers_that_are_not_json_are_refused(self, literal: str) -> None:
        assert codes_of(f'{{"a": {{"b": [1, {literal}]}}}}') == [(RowCode.NON_FINITE_NUMBER, "a.b[1]")]

    @pytest.mark.parametrize("literal", ["1e400", "-1e400", "1" + "0" * 400 + ".0"])
    def test_a_float_beyond_64_bits_is_refused_rather_than_made_infinite(self, literal: str) -> None:
        assert codes_of(f'{{"a": {literal}}}') == [(RowCode.NUMBER_TOO_LARGE, "a")]

    def test_a_float_below_the_least_is_zero(self) -> None:
        assert parse('{"a": 1e-400}').value == {"a": 0.0}

    @pytest.mark.parametrize("digits", [1, 4000, 4001, 4300, 4301, 50_000])
    @pytest.mark.parametrize("sign", ["", "-"])
    def test_integers_of_any_length_are_exact(self, digits: int, sign: str) -> None:
        value = parse(f'{{"a": {sign}{"7" * digits}}}').value
        sevens = (10**digits - 1) // 9 * 7
        assert value == {"a": -sevens if sign else sevens}

    @pytest.mark.parametrize("content", [b'{"a": "\xff"}', b'{"a": "\xc3"}', b'{"a": "\xed\xa0\x80"}', b"\xc0\xaf"])
    def test_invalid_utf8_is_refused(self, content: bytes) -> None:
        assert codes_of(content) == [(RowCode.INVALID_UTF8, "")]

    def test_utf16_is_told_as_such(self) -> None:
        assert "looks like UTF-16" in parse('{"a": 1}'.encode("utf-16")).problems[0].message

    @pytest.mark.parametrize(
        ("content", "field"),
        [
            (r'{"a": "\ud83d"}', "a"),
            (r'{"a": ["x", "\ude00\ud83d"]}', "a[1]"),
            (r'{"\uD83D": 1}', "\ud83d"),
            (r'{"a": "\ud800", "a": 1}', "a"),
        ],
    )
    def test_half_a_character_is_refused(self, content: str, field: str) -> None:
        assert (RowCode.LONE_SURROGATE, field) in codes_of(content)
        assert parse(content).value is None

    def test_a_whole_character_in_two_escapes_is_accepted(self) -> None:
        assert parse(r'{"a": "\ud83d\ude00 \\ud83d"}').value == {"a": "😀 \\ud83d"}

    def test_the_last_of_duplicate_keys_wins_with_a_warning_for_each_key(self) -> None:
        parsed = parse('{"a": 1, "b": [{"c": 1, "c": 2, "c": 3}], "a": 4}')
        assert parsed.value == {"a": 4, "b": [{"c": 3}]}
        assert [(problem.code, problem.field) for problem in parsed.problems] == [
            (RowCode.DUPLICATE_KEY, "a"),
            (RowCode.DUPLICATE_KEY, "b[0].c"),
        ]

    def test_a_bad_number_that_a_later_key_overrules_is_still_refused(self) -> None:
        parsed = parse('{"a": {"b": NaN}, "a": 1}')
        assert parsed.value is None
        assert (RowCode.NON_FINITE_NUMBER, "a.b") in codes_of('{"a": {"b": NaN}, "a": 1}')

    def test_a_bad_number_that_looks_like_nothing_else_is_found_among_other_problems(self) -> None:
        assert codes_of(r'{"a": NaN, "b": "\ud800", "c": 1e999}') == [
            (RowCode.NON_FINITE_NUMBER, "a"),
            (RowCode.LONE_SURROGATE, "b"),
            (RowCode.NUMBER_TOO_LARGE, "c"),
        ]

    def test_nesting_up_to_the_bound_is_read(self) -> None:
        inner = MAX_DEPTH - 1
        assert parse('{"a":' + "[" * inner + "]" * inner + "}").problems == ()

    @pytest.mark.parametrize("depth", [MAX_DEPTH, 100_000])
    def test_deeper_nesting_is_refused(self, depth: int) -> None:
        assert codes_of('{"a":' + "[" * depth + "]" * depth + "}") == [(RowCode.NESTED_TOO_DEEP, "")]
        assert codes_of('{"a":' * depth + "[") == [(RowCode.NESTED_TOO_DEEP, "")]

    def test_brackets_in_text_are_no_nesting(self) -> None:
        text = '[{"\\' * 1000
        assert parse(json.dumps({"a": text})).value == {"a": text}

    def test_many_shallow_objects_are_no_nesting(self) -> None:
        assert parse('{"a": [' + ", ".join(['{"b": []}'] * 1000) + "]}").problems == ()

    def test_a_caller_deep_in_the_stack_gets_an_answer(self) -> None:
        def down(levels: int):
            return parse('{"a":' + "[" * 100 + "]" * 100 + "}") if levels == 0 else down(levels - 1)

        free = sys.getrecursionlimit() - len(list(_frames())) - 40
        parsed = down(free)
        # Python 3.12 counts C's stack apart and may read the row.
        assert parsed.value is not None or parsed.problems[0].code is RowCode.NESTED_TOO_DEEP

    @given(st.binary() | st.text().map(str.encode))
    @example(b'{"a": "\\')
    def test_no_bytes_make_it_raise(self, content: bytes) -> None:
        parsed = parse(content)
        assert (parsed.value is None) == any(p.code is not RowCode.DUPLICATE_KEY for p in parsed.problems)

    @given(st.lists(st.sampled_from([*'{}[]",:\\', '"a"', "1", "-", "1e999", "NaN", "\\ud800", "\\n", " ", "é"])))
    def test_no_heap_of_json_tokens_makes_it_raise(self, tokens: list[str]) -> None:
        text = "".join(tokens)
        parsed = parse(text)
        try:
            expected = json.loads(text)
        except ValueError:
            assert parsed.value is None
        else:
            assert parsed.value is None or parsed.value == expected

    @settings(max_examples=50)
    @given(st.dictionaries(st.text(), VALUES))
    @pytest.mark.parametrize("ascii_only", [True, False])
    def test_every_json_object_comes_back(self, ascii_only: bool, row: dict) -> None:
        assert parse(json.dumps(row, ensure_ascii=ascii_only)).value == row


class TestIterRows:
    def test_rows_carry_their_line_and_blank_lines_are_skipped(self, tmp_path: Path) -> None:
        path = write(tmp_path, b'\xef\xbb\xbf{"a": 1}\r\n \t\n{"a": 2}')
        assert list(iter_rows(path)) == [DataRow(1, {"a": 1}, path), DataRow(3, {"a": 2}, path)]

    def test_a_bad_row_stops_with_file_and_line(self, tmp_path: Path) -> None:
        path = write(tmp_path, b'{"a": 1}\n\n{"a": NaN}\n')
        rows = iter_rows(path)
        assert next(rows).line == 1
        with pytest.raises(DataError, match=r"rows\.jsonl:3: a: NaN is not a JSON number \(THK-DATA-003\)"):
            next(rows)

    def test_a_duplicate_key_stops_nothing(self, tmp_path: Path) -> None:
        path = write(tmp_path, b'{"a": 1, "a": 2}\n')
        assert list(iter_rows(path)) == [DataRow(1, {"a": 2}, path)]

    def test_the_rows_of_a_compressed_file_carry_its_name(self, tmp_path: Path) -> None:
        path = write(tmp_path, compress(b'{"a": 1}\n\n{"a": 2}', ".gz"), "rows.jsonl.gz")
        assert list(iter_rows(path)) == [DataRow(1, {"a": 1}, path), DataRow(3, {"a": 2}, path)]


def _frames():
    frame = sys._getframe()
    while frame:
        yield frame
        frame = frame.f_back
