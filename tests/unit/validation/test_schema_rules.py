"""Each schema rule against one planted defect: line, field, code."""

import tracemalloc
from typing import Any

import pytest

from thinker.config.pipeline_models import SchemaField
from thinker.errors import ConfigError
from thinker.validation.rules import UNIQUE_BYTES_PER_VALUE, RowChecker


def broken(row: dict[str, Any], *schema: SchemaField) -> list[tuple[str, str]]:
    return [(finding.field, finding.rule) for finding in RowChecker(schema).check(row, 1)]


def message(row: dict[str, Any], *schema: SchemaField) -> str:
    (finding,) = RowChecker(schema).check(row, 1)
    return finding.message


class TestPresence:
    def test_a_required_field_that_is_absent(self) -> None:
        assert broken({}, SchemaField(name="prompt")) == [("prompt", "missing")]

    @pytest.mark.parametrize("types", ["string", "any", ("string", "integer")])
    def test_null_counts_as_absent(self, types: Any) -> None:
        assert broken({"a": None}, SchemaField(name="a", type=types)) == [("a", "missing")]
        assert broken({"a": None}, SchemaField(name="a", type=types, required=False)) == []

    @pytest.mark.parametrize("types", ["null", ("string", "null"), ("any", "null")])
    def test_null_passes_where_the_type_lists_it(self, types: Any) -> None:
        assert broken({"a": None}, SchemaField(name="a", type=types)) == []

    def test_null_passes_where_the_enum_of_any_type_holds_it(self) -> None:
        assert broken({"a": None}, SchemaField(name="a", enum=("x", None))) == []
        assert broken({"a": None}, SchemaField(name="a", type="string", enum=("x", None))) == [("a", "missing")]

    def test_an_optional_field_may_be_absent_but_not_wrong(self) -> None:
        field = SchemaField(name="a", type="string", required=False)
        assert broken({}, field) == []
        assert broken({"a": 1}, field) == [("a", "type")]


class TestNames:
    def test_dots_lead_into_objects(self) -> None:
        field = SchemaField(name="metadata.source.id", type="integer")
        assert broken({"metadata": {"source": {"id": 1}}}, field) == []
        assert broken({"metadata": {"source": {"id": "1"}}}, field) == [("metadata.source.id", "type")]

    @pytest.mark.parametrize(
        "row", [{}, {"m": None}, {"m": {}}, {"m": "text"}, {"m": [{"id": 1}]}, {"m": {"id": None}}]
    )
    def test_a_path_that_leads_nowhere_is_missing(self, row: dict[str, Any]) -> None:
        assert broken(row, SchemaField(name="m.id")) == [("m.id", "missing")]
        assert broken(row, SchemaField(name="m.id", required=False)) == []

    def test_a_literal_key_with_a_dot_goes_before_the_path(self) -> None:
        field = SchemaField(name="a.b", type="integer")
        assert broken({"a.b": 1, "a": {"b": "x"}}, field) == []
        assert broken({"a.b": "x", "a": {"b": 1}}, field) == [("a.b", "type")]

    def test_a_literal_key_with_a_dot_is_found_inside_an_object(self) -> None:
        assert broken({"a": {"b.c": 1}}, SchemaField(name="a.b.c", type="integer")) == []


VALUES = {
    "string": "x",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "object": {"k": 1},
    "array": [1],
}


class TestTypes:
    @pytest.mark.parametrize("wanted", VALUES)
    @pytest.mark.parametrize("given", VALUES)
    def test_a_value_fits_its_own_type_alone(self, wanted: Any, given: str) -> None:
        fits = wanted == given or (wanted, given) == ("number", "integer")
        assert broken({"a": VALUES[given]}, SchemaField(name="a", type=wanted)) == ([] if fits else [("a", "type")])

    @pytest.mark.parametrize("given", VALUES.values())
    def test_any_type_takes_every_value(self, given: Any) -> None:
        assert broken({"a": given}, SchemaField(name="a")) == []

    def test_a_whole_float_is_an_integer(self) -> None:
        assert broken({"a": 1.0}, SchemaField(name="a", type="integer")) == []

    def test_a_list_of_types_takes_each_of_them(self) -> None:
        field = SchemaField(name="a", type=("string", "integer"))
        assert broken({"a": "x"}, field) == broken({"a": 1}, field) == []
        assert message({"a": True}, field) == "expected integer or string, got boolean"

    def test_a_wrong_type_is_not_held_against_the_other_rules(self) -> None:
        field = SchemaField(name="a", type="string", pattern="x", min=5, enum=("x",))
        assert broken({"a": 1}, field) == [("a", "type")]


class TestEmptiness:
    @pytest.mark.parametrize("value", ["", " \t\n\u3000", [], {}])
    def test_empty_values(self, value: Any) -> None:
        assert broken({"a": value}, SchemaField(name="a")) == [("a", "empty")]
        assert broken({"a": value}, SchemaField(name="a", allow_empty=True)) == []

    @pytest.mark.parametrize("value", [0, False, "0", [None], {"": 0}])
    def test_values_that_only_look_empty(self, value: Any) -> None:
        assert broken({"a": value}, SchemaField(name="a")) == []

    def test_an_empty_value_is_one_problem(self) -> None:
        assert broken({"a": ""}, SchemaField(name="a", min_length=3, pattern="x")) == [("a", "empty")]


class TestValues:
    def test_pattern_may_match_anywhere(self) -> None:
        field = SchemaField(name="a", pattern="b+")
        assert broken({"a": "abba"}, field) == []
        assert broken({"a": "acca"}, field) == [("a", "pattern")]

    @pytest.mark.parametrize(("value", "rules"), [(1.9, ["min"]), (2, []), (3.0, []), (4, []), (10**400, ["max"])])
    def test_bounds_include_themselves(self, value: Any, rules: list[str]) -> None:
        assert broken({"a": value}, SchemaField(name="a", min=2, max=4)) == [("a", rule) for rule in rules]

    @pytest.mark.parametrize("value", ["ab", [1, 2], {"a": 1, "b": 2}])
    def test_lengths_of_strings_arrays_and_objects(self, value: Any) -> None:
        assert broken({"a": value}, SchemaField(name="a", min_length=3)) == [("a", "min_length")]
        assert broken({"a": value}, SchemaField(name="a", min_length=2, max_length=2)) == []
        assert broken({"a": value}, SchemaField(name="a", max_length=1)) == [("a", "max_length")]

    def test_length_counts_characters_not_bytes(self) -> None:
        assert broken({"a": "€😀"}, SchemaField(name="a", max_length=2)) == []

    def test_a_rule_leaves_alone_what_it_is_not_for(self) -> None:
        field = SchemaField(name="a", pattern="x", min=9, min_length=9)
        assert broken({"a": True}, field) == []
        assert broken({"a": 9}, field) == []

    @pytest.mark.parametrize(
        ("value", "allowed"),
        [(1, True), (1.0, True), (True, False), ("1", False), ("a", True), (False, True), (0, False), ([1], False)],
    )
    def test_enum_tells_types_apart(self, value: Any, allowed: bool) -> None:
        found = broken({"a": value}, SchemaField(name="a", enum=(1, "a", False)))
        assert found == ([] if allowed else [("a", "enum")])

    def test_all_broken_rules_are_told(self) -> None:
        field = SchemaField(name="a", pattern="x", max_length=1, enum=("b",))
        assert broken({"a": "cc"}, field) == [("a", "pattern"), ("a", "max_length"), ("a", "enum")]


class TestNesting:
    def test_items_are_checked_one_by_one(self) -> None:
        field = SchemaField(name="tags", type="array", items=SchemaField(name="item", type="string"))
        assert broken({"tags": ["a", 1, "", None]}, field) == [
            ("tags[1]", "type"),
            ("tags[2]", "empty"),
            ("tags[3]", "missing"),
        ]

    def test_fields_of_objects_in_arrays(self) -> None:
        turn = SchemaField(
            name="item", type="object", fields=(SchemaField(name="role", enum=("user",)), SchemaField(name="text.body"))
        )
        found = broken({"m": {"turns": [{"role": "usr"}]}}, SchemaField(name="m.turns", type="array", items=turn))
        assert found == [("m.turns[0].role", "enum"), ("m.turns[0].text.body", "missing")]

    def test_items_of_items(self) -> None:
        inner = SchemaField(name="item", type="array", items=SchemaField(name="item", type="integer"))
        assert broken({"a": [[1], [1, "x"]]}, SchemaField(name="a", items=inner)) == [("a[1][1]", "type")]

    def test_a_broken_pattern_of_an_inner_field_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"item: pattern '\(' is not valid"):
            RowChecker([SchemaField(name="a", items=SchemaField(name="item", pattern="("))])


class TestUnique:
    def check(self, *values: Any) -> list[tuple[int, str]]:
        checker = RowChecker([SchemaField(name="id", type=("any", "null"), unique=True, allow_empty=True)])
        rows = enumerate(values, start=1)
        return [(line, finding.message) for line, value in rows for finding in checker.check({"id": value}, line)]

    def test_a_repeated_value_names_the_line_it_first_stood_on(self) -> None:
        assert self.check("a", "b", "a", "a") == [(3, "same value as in line 1"), (4, "same value as in line 1")]

    def test_equal_numbers_and_reordered_objects_are_the_same_value(self) -> None:
        assert [line for line, _ in self.check(1, 1.0, {"a": 1, "b": 2}, {"b": 2, "a": 1})] == [2, 4]

    @pytest.mark.parametrize("kind", [list, tuple])
    def test_other_values_are_told_apart(self, kind: type) -> None:
        values = [
            1,
            True,
            "1",
            [1],
            {"1": 1},
            0,
            False,
            "",
            [],
            {},
            "i1;",
            ["a", "b"],
            ["ab"],
            ["a", ["b"]],
            [["a"], "b"],
        ]
        values += [{"a": "b"}, {"ab": ""}, -1, 1.5, "1.5", 10**5000, 10**5000 + 1, [[], []], [[[]]]]
        assert self.check(*values) == []

    def test_nulls_are_not_compared(self) -> None:
        assert self.check(None, None) == []

    def test_values_under_items_must_differ_within_and_across_rows(self) -> None:
        checker = RowChecker([SchemaField(name="ids", items=SchemaField(name="item", unique=True))])
        assert [f.field for f in checker.check({"ids": [1, 1]}, 1)] == ["ids[1]"]
        assert [f.field for f in checker.check({"ids": [2, 1]}, 2)] == ["ids[1]"]

    def test_two_checkers_do_not_share_what_they_saw(self) -> None:
        assert self.check("a") == self.check("a") == []

    @pytest.mark.parametrize("rows", [5_462, 50_000])
    def test_memory_stays_within_what_is_stated(self, rows: int) -> None:
        checker = RowChecker([SchemaField(name="id", unique=True)])
        tracemalloc.start()
        try:
            for line in range(1, rows + 1):
                checker.check({"id": line}, line)
            used = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert checker.memory_bytes_per_row == UNIQUE_BYTES_PER_VALUE
        assert used <= rows * UNIQUE_BYTES_PER_VALUE

    def test_memory_is_stated_for_every_unique_field(self) -> None:
        inner = SchemaField(name="b", fields=(SchemaField(name="c", unique=True),), unique=True)
        checker = RowChecker([SchemaField(name="a", items=inner), SchemaField(name="d")])
        assert checker.memory_bytes_per_row == 2 * UNIQUE_BYTES_PER_VALUE
