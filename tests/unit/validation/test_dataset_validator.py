"""The dataset gate: the table of DESIGN 4.5, exact counts, caps, levels and what the result says."""

import hashlib
import itertools
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from thinker import progress, secrets
from thinker.config.pipeline_models import SchemaField
from thinker.errors import ConfigError, DataError
from thinker.validation import DatasetValidationResult, DatasetValidator
from thinker.validation.codes import CODES

PROMPT = SchemaField(name="prompt", type="string")
GOOD = b'{"prompt": "p"}\n'


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return tmp_path / "train.jsonl"


def check(path: Path, content: bytes, *schema: SchemaField, **options: Any) -> DatasetValidationResult:
    path.write_bytes(content)
    return DatasetValidator(path, schema, **options).validate()


def places(problems: Any) -> list[tuple[int | None, str, str]]:
    return [(problem.line, problem.field, problem.code) for problem in problems]


class TestTable:
    """Each row of DESIGN 4.5's table, on the second of three lines."""

    @pytest.mark.parametrize(
        ("line", "field", "code"),
        [
            (b"[1]", "", "THK-DATA-007"),
            (b'{"prompt": ', "", "THK-DATA-002"),
            (b'{"prompt": "p", "n": [NaN]}', "n[0]", "THK-DATA-003"),
            (b'{"prompt": "p", "n": -Infinity}', "n", "THK-DATA-003"),
            (b'{"prompt": "p", "n": 1e400}', "n", "THK-DATA-004"),
            (b'{"prompt": "\xff"}', "", "THK-DATA-001"),
            (rb'{"prompt": "\ud83d"}', "prompt", "THK-DATA-005"),
            (b'{"prompt": ' + b"[" * 1000, "", "THK-DATA-006"),
        ],
    )
    def test_errors(self, dataset: Path, line: bytes, field: str, code: str) -> None:
        result = check(dataset, GOOD + line + b"\n" + GOOD, PROMPT)
        assert places(result.errors) == [(2, field, code)]
        assert next(iter(result.errors)).rule == CODES[code].slug
        assert not result.ok
        assert result.rows == 3

    @pytest.mark.parametrize(
        ("value", "wanted", "passes"),
        [("true", "integer", False), ("false", "number", False), ("1.0", "integer", True), ("1.5", "integer", False)],
    )
    def test_booleans_and_whole_floats(self, dataset: Path, value: str, wanted: Any, passes: bool) -> None:
        result = check(dataset, f'{{"n": {value}}}\n'.encode(), SchemaField(name="n", type=wanted))
        assert places(result.errors) == ([] if passes else [(1, "n", "THK-DATA-011")])

    def test_duplicate_keys_warn_and_the_last_counts(self, dataset: Path) -> None:
        result = check(dataset, GOOD + b'{"prompt": 1, "prompt": "p", "m": {"k": 1, "k": 2}}\n', PROMPT)
        assert places(result.warnings) == [(2, "prompt", "THK-DATA-008"), (2, "m.k", "THK-DATA-008")]
        assert result.ok

    def test_a_byte_order_mark_warns(self, dataset: Path) -> None:
        result = check(dataset, b"\xef\xbb\xbf" + GOOD, PROMPT)
        assert places(result.warnings) == [(1, "", "THK-DATA-042")]
        assert (result.ok, result.rows) == (True, 1)

    def test_blank_lines_are_skipped_counted_and_warned_of(self, dataset: Path) -> None:
        result = check(dataset, GOOD + b"\n \t\r\n" + GOOD + b"\n", PROMPT)
        assert (result.ok, result.rows, result.blank_lines) == (True, 2, 3)
        assert places(result.warnings) == [(line, "", "THK-DATA-041") for line in (2, 3, 5)]

    @pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
    def test_a_file_without_rows_is_an_error(self, dataset: Path, content: bytes) -> None:
        result = check(dataset, content, PROMPT)
        assert places(result.errors) == [(None, "", "THK-DATA-040")]
        assert result.summary()[0] == "train.jsonl: no rows (THK-DATA-040)"

    def test_line_ends_of_every_kind_are_accepted(self, dataset: Path) -> None:
        result = check(dataset, b'{"prompt": "p"}\r\n{"prompt": "p"}\n{"prompt": "p"}', PROMPT)
        assert (result.ok, result.rows, result.warning_count) == (True, 3, 0)


class TestCounts:
    CONTENT = b"".join(b'{"prompt": %s}\n' % (b'""' if line % 2 else b"1") for line in range(1, 101)) + b"\n" * 30

    def test_counts_are_exact_past_the_bound_and_every_problem_is_kept(self, dataset: Path) -> None:
        result = check(dataset, self.CONTENT, PROMPT, keep_errors=7)
        assert (result.error_count, result.warning_count) == (100, 30)
        assert result.counts_by_code == {"THK-DATA-011": 50, "THK-DATA-012": 50, "THK-DATA-041": 30}
        assert [problem.line for problem in result.errors] == list(range(1, 101))
        assert [problem.line for problem in result.warnings] == list(range(101, 131))

    def test_spilled_problems_equal_kept_ones(self, dataset: Path) -> None:
        kept = check(dataset, self.CONTENT, PROMPT)
        spilled = check(dataset, self.CONTENT, PROMPT, keep_errors=0)
        assert list(kept.errors) == list(spilled.errors)

    def test_two_readers_of_spilled_problems_do_not_disturb_each_other(self, dataset: Path) -> None:
        result = check(dataset, self.CONTENT, PROMPT, keep_errors=3)
        assert all(one == other for one, other in zip(result.errors, result.errors, strict=True))
        assert len(list(itertools.islice(result.errors, 5))) == 5

    def test_a_temporary_folder_that_cannot_be_written_is_named(
        self, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
        with pytest.raises(DataError, match=r"problem 6 of the dataset cannot be kept in .*absent"):
            check(dataset, self.CONTENT, PROMPT, keep_errors=5)

    def test_hash_and_size_are_those_of_the_file(self, dataset: Path) -> None:
        result = check(dataset, self.CONTENT, PROMPT)
        assert result.sha256 == hashlib.sha256(self.CONTENT).hexdigest()
        assert result.size_bytes == len(self.CONTENT)


class TestCap:
    def test_rows_past_the_cap_are_hashed_but_not_checked(self, dataset: Path) -> None:
        content = GOOD * 2 + b"not json\n"
        result = check(dataset, content, PROMPT, max_examples=2)
        assert (result.ok, result.rows, result.complete) == (True, 2, False)
        assert result.sha256 == hashlib.sha256(content).hexdigest()

    @pytest.mark.parametrize("rest", [b"", b"\n", b"  \n\n"])
    def test_a_cap_that_leaves_no_row_out_is_complete(self, dataset: Path, rest: bytes) -> None:
        assert check(dataset, GOOD * 2 + rest, PROMPT, max_examples=2).complete

    def test_blank_lines_do_not_use_up_the_cap(self, dataset: Path) -> None:
        result = check(dataset, b"\n\n" + GOOD + b'{"prompt": ""}\n', PROMPT, max_examples=2)
        assert places(result.errors) == [(4, "prompt", "THK-DATA-012")]

    def test_broken_rows_use_up_the_cap(self, dataset: Path) -> None:
        assert check(dataset, b"x\ny\nz\n", PROMPT, max_examples=2).error_count == 2


class TestChecks:
    def test_a_level_can_be_changed_either_way(self, dataset: Path) -> None:
        content = b'{"prompt": ""}\n\n'
        result = check(dataset, content, PROMPT, checks={"THK-DATA-012": "warn", "THK-DATA-041": "error"})
        assert places(result.errors) == [(2, "", "THK-DATA-041")]
        assert places(result.warnings) == [(1, "prompt", "THK-DATA-012")]

    def test_a_check_that_is_off_is_not_counted(self, dataset: Path) -> None:
        result = check(dataset, b'{"prompt": ""}\n', PROMPT, checks={"THK-DATA-012": "off"})
        assert (result.ok, result.counts_by_code) == (True, {})

    @pytest.mark.parametrize(
        ("code", "hint"),
        [
            ("THK-DATA-41", r"did you mean 'THK-DATA-0?41'|did you mean 'THK-DATA-04\d'"),
            ("blank-line", "did you mean 'THK-DATA-041'"),
            ("blank_lin", "did you mean 'THK-DATA-041'"),
            ("nonsense?", "known: THK-DATA-001, "),
        ],
    )
    def test_an_unknown_code_is_refused_with_a_suggestion(self, dataset: Path, code: str, hint: str) -> None:
        with pytest.raises(ConfigError, match=f"unknown code.*({hint})"):
            DatasetValidator(dataset, [], checks={code: "warn"})

    @pytest.mark.parametrize("code", ["THK-DATA-001", "THK-DATA-007", "THK-DATA-040", "THK-DATA-050"])
    def test_a_fixed_level_is_refused_with_advice(self, dataset: Path, code: str) -> None:
        with pytest.raises(ConfigError, match=f"the level of {code} .* is always 'error': .* Mend the rows"):
            DatasetValidator(dataset, [], checks={code: "warn"})

    def test_all_refusals_come_at_once(self, dataset: Path) -> None:
        with pytest.raises(ConfigError) as caught:
            DatasetValidator(dataset, [], checks={"x": "warn", "THK-DATA-002": "off", "THK-DATA-010": "off"})
        assert len(caught.value.problems) == 2


class TestWhatIsSaid:
    def test_a_problem_carries_all_that_is_needed_to_find_it(self, dataset: Path) -> None:
        schema = SchemaField(name="metadata.tags", items=SchemaField(name="item", max_length=3))
        result = check(
            dataset, GOOD + b'{"metadata": {"tags": ["abc", "abcd"]}}\n', schema, checks={"THK-DATA-010": "off"}
        )
        (problem,) = result.errors
        assert (problem.file, problem.line, problem.field) == (str(dataset), 2, "metadata.tags[1]")
        assert (problem.code, problem.rule, problem.level) == ("THK-DATA-017", "max_length", "error")
        assert (problem.message, problem.excerpt) == ("length 4, at most 3 allowed", '"abcd"')

    def test_the_summary_shows_the_first_problems_and_counts_the_others(self, dataset: Path) -> None:
        result = check(dataset, b"{}\n" * 4 + b"\n\n", PROMPT)
        assert result.summary(limit=2) == [
            "train.jsonl:1: prompt: missing (THK-DATA-010)",
            "train.jsonl:2: prompt: missing (THK-DATA-010)",
            "… and 2 more errors",
            "train.jsonl:5: warning: blank line, skipped (THK-DATA-041)",
            "train.jsonl:6: warning: blank line, skipped (THK-DATA-041)",
        ]

    def test_failing_names_count_first_place_and_advice_in_one_line(self, dataset: Path) -> None:
        with pytest.raises(DataError) as caught:
            check(dataset, GOOD + b"{}\n" * 3, PROMPT).raise_if_failed(limit=1)
        assert str(caught.value) == (
            "train.jsonl: 3 errors, the first: train.jsonl:2: prompt: missing (THK-DATA-010); "
            "mend what `thinker validate` prints and run it again"
        )
        assert caught.value.__notes__ == ["train.jsonl:2: prompt: missing (THK-DATA-010)", "… and 2 more errors"]

    def test_a_single_error_is_told_with_its_place(self, dataset: Path) -> None:
        with pytest.raises(DataError, match=r"^train\.jsonl:1: prompt: missing \(THK-DATA-010\); mend what"):
            check(dataset, b"{}\n", PROMPT).raise_if_failed()

    def test_a_dataset_with_warnings_alone_does_not_fail(self, dataset: Path) -> None:
        check(dataset, GOOD + b"\n", PROMPT).raise_if_failed()

    def test_a_missing_file_is_named(self, dataset: Path) -> None:
        with pytest.raises(DataError, match=r"cannot read .*train\.jsonl"):
            DatasetValidator(dataset, [PROMPT]).validate()

    def test_a_schema_that_cannot_be_used_is_refused_at_once(self, dataset: Path) -> None:
        with pytest.raises(ConfigError, match="prompt: pattern '\\['"):
            DatasetValidator(dataset, [SchemaField(name="prompt", pattern="[")])

    def test_progress_reaches_the_size_of_the_file(self, dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
        progress.set_mode("plain")
        try:
            with caplog.at_level(logging.INFO, "thinker"):
                check(dataset, b'{"prompt": "%s"}\n' % (b"x" * 985) * 3000, PROMPT)
        finally:
            progress.set_mode("off")
        assert "checking the dataset: 3.0/3.0 MB, " in caplog.text


class TestExcerpts:
    def excerpt(self, path: Path, content: str, *schema: SchemaField) -> str:
        (problem,) = check(path, content.encode(), *(schema or (SchemaField(name="a", type="null"),))).errors
        assert len(problem.excerpt) <= 60
        assert problem.excerpt.isprintable()
        return problem.excerpt

    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            ('"two\\nlines\\u001b[31m\\u202e"', '"two\\nlines\\u001b[31m\\u202e"'),
            ('"' + "x" * 100 + '"', '"' + "x" * 58 + "…"),
            ("[1, [2, [3, [4]]], {}, true, null, 6, 7]", "[1, [2, […]], {}, true, null, …]"),
            ('{"k": {"l": [1.5]}}', '{"k": {"l": […]}}'),
            ("1" * 5000, "an integer of about 5000 digits"),
            ("12345678901234567890", "12345678901234567890"),
        ],
    )
    def test_values(self, dataset: Path, value: str, shown: str) -> None:
        assert self.excerpt(dataset, f'{{"a": {value}}}') == shown

    def test_invalid_json_shows_the_place(self, dataset: Path) -> None:
        shown = self.excerpt(dataset, '{"a": "' + "x" * 500 + '",, "b": "' + "y" * 500 + '"}')
        assert ',, "b"' in shown

    def test_invalid_utf8_shows_the_bytes(self, dataset: Path) -> None:
        (problem,) = check(dataset, b'{"a": "\xff"}').errors
        assert problem.excerpt == '{"a": "\\xff"}'

    def test_secrets_are_masked_even_where_they_would_be_cut(self, dataset: Path) -> None:
        token = "hf_" + "A1b2" * 10
        assert self.excerpt(dataset, json.dumps({"a": "x" * 40 + token})) == '"' + "x" * 40 + '***"'
        assert "A1b2" not in self.excerpt(dataset, f'{{"a": "{token}" "b": 1}}')
        secrets.register("correct horse battery")
        assert "horse" not in self.excerpt(dataset, '{"a": ["correct horse battery", 1]}')

    def test_keys_and_messages_of_a_dataset_cannot_forge_output(self, dataset: Path) -> None:
        result = check(dataset, json.dumps({"prompt": "p"}).encode()[:-1] + rb', "\u001b[2J\nx": 1, "\u001b[2J\nx": 2}')
        assert all(line.isprintable() for line in result.summary())


def test_unique_values_state_their_memory(dataset: Path) -> None:
    result = check(dataset, GOOD * 2, SchemaField(name="prompt", unique=True))
    assert places(result.errors) == [(2, "prompt", "THK-DATA-019")]
    assert result.memory_bytes_per_row > 16
    assert check(dataset, GOOD, PROMPT).memory_bytes_per_row == 0


def test_a_validator_can_be_used_again(dataset: Path) -> None:
    dataset.write_bytes(GOOD)
    validator = DatasetValidator(dataset, [SchemaField(name="prompt", unique=True)])
    assert validator.validate().ok
    assert validator.validate().ok
