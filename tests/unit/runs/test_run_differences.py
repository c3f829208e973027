from __future__ import annotations

import pytest

from thinker.runs.differences import Difference, Fact, differing, differing_keys, each_once, flattened, same, shown


@pytest.mark.parametrize(("one", "other"), [(1.0, 1), ((1, 2), [1, 2]), ({"a": 1, "b": 2}, {"b": 2, "a": 1})])
def test_values_that_are_the_same_json_are_the_same(one: object, other: object) -> None:
    assert same(one, other)


@pytest.mark.parametrize(("one", "other"), [(1, "1"), (True, 1), (None, 0), (0.1, 0.1 + 2**-56), ([1, 2], [2, 1])])
def test_values_that_differ_by_a_bit_or_a_type_are_not_the_same(one: object, other: object) -> None:
    assert not same(one, other)


def test_a_difference_says_both_values() -> None:
    assert str(Difference("version", "torch", "2.12.0", "2.13.0")) == "torch: recorded 2.12.0, here 2.13.0"
    assert str(Difference("version", "peft", "0.21.2", None)) == "peft: recorded 0.21.2, here not installed"
    assert str(Difference("setting", "training.max_steps", None, 5)) == "training.max_steps: recorded null, here 5"


def test_hashes_are_shortened_in_words_and_whole_in_json() -> None:
    difference = Difference("dataset", "dataset d.jsonl", "a" * 64, "b" * 64, "recorded as e.jsonl")
    words = "dataset d.jsonl: recorded aaaaaaaaaaaa…, here bbbbbbbbbbbb… (recorded as e.jsonl)"
    assert str(difference) == words
    assert difference.as_json() == {
        "kind": "dataset", "name": "dataset d.jsonl", "recorded": "a" * 64, "here": "b" * 64,
        "detail": "recorded as e.jsonl", "message": words,
    }  # fmt: skip


def test_a_long_value_is_cut_short() -> None:
    assert shown("x" * 100) == "x" * 59 + "…"


def test_nested_keys_are_joined_and_empty_sections_vanish() -> None:
    assert flattened({"a": {"b": 1, "c": {"d": [2]}}, "e": {}, "f": None}) == {"a.b": 1, "a.c.d": [2], "f": None}


def test_keys_of_either_side_are_compared_and_null_counts_as_absent() -> None:
    recorded = {"same": 1, "changed": 1, "gone": 1, "null": None}
    here = {"same": 1.0, "changed": 2, "new": 3}
    found = [(each.name, each.recorded, each.here) for each in differing_keys("setting", recorded, here)]
    assert found == [("changed", 1, 2), ("gone", 1, None), ("new", None, 3)]


def test_facts_that_nothing_is_known_of_here_are_not_compared() -> None:
    facts = [Fact("hardware", "threads", 2), Fact("hardware", "unknown", 1)]
    assert [each.name for each in differing(facts, {"threads": 1})] == ["threads"]


def test_the_same_difference_said_by_two_parts_of_a_record_is_told_once() -> None:
    facts = [Fact("version", "torch", "1"), Fact("version", "torch", "1"), Fact("version", "torch", "2")]
    assert [each.recorded for each in differing(facts, {"torch": "3"})] == ["1", "2"]
    twice = [Difference("setting", "a", 1, 2), Difference("seed", "a", 1, 2)]
    assert each_once(twice) == twice[:1]
