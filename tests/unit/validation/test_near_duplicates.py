"""The search finds what comparing each text with each would find."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinker.validation.near_duplicates import Near, NearDuplicates, shingles

# Few words, so that texts are alike by chance.
TEXTS = st.lists(st.sampled_from("abcd"), max_size=7).map(" ".join)


def all_pairs(texts: list[str], text: str) -> Near | None:
    """The slow, obvious way."""
    having = Counter(shingle for each in texts for shingle in shingles(each))
    form = {shingle for shingle, count in having.items() if count > len(texts) // 20 and count >= 4}
    own, alike = shingles(text) - form, []
    for place, other in enumerate(texts):
        theirs = shingles(other) - form
        if own | theirs and 2 * len(own & theirs) >= len(own | theirs):
            alike.append((len(own & theirs) / len(own | theirs), -place))
    if not alike:
        return None
    similarity, place = max(alike)
    return Near(-place, similarity, len(alike) - 1)


@given(st.lists(TEXTS, max_size=12), TEXTS)
def test_the_search_finds_what_comparing_all_finds(texts: list[str], text: str) -> None:
    assert NearDuplicates(texts).nearest(text) == all_pairs(texts, text)


@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_each_of_a_few_texts_is_nearest_to_itself(texts: list[str]) -> None:
    for place, text in enumerate(texts):
        if text:
            found = NearDuplicates(texts).nearest(text)
            assert found is not None
            assert found.similarity == 1
            assert found.place <= place


def test_a_claim_turned_round_is_near_and_another_is_not() -> None:
    near = NearDuplicates(["insulin increases risk of severe kidney failure"])
    assert near.nearest("insulin decreases risk of severe kidney failure") == Near(0, 0.5, 0)
    assert near.nearest("insulin decreases risk of mild kidney failure") is None


def test_the_first_of_equally_near_texts_is_named_and_the_others_counted() -> None:
    near = NearDuplicates(["x y z", "a b c", "a b c d", "a b c"])
    assert near.nearest("a b c") == Near(1, 1.0, 2)


def test_what_many_texts_have_in_common_does_not_count() -> None:
    form = "answer the question about the capital of"
    near = NearDuplicates([f"{form} {country}" for country in ("france", "italy", "spain", "norway")])
    assert near.nearest(f"{form} japan") is None
    assert near.nearest(f"{form} spain") == Near(2, 1.0, 0)


@pytest.mark.parametrize("text", ["", "word"])
def test_texts_without_pairs_are_compared_as_they_are(text: str) -> None:
    assert NearDuplicates([text, "other"]).nearest(text) == (Near(0, 1.0, 0) if text else None)


def test_scripts_without_spaces_are_cut_into_characters() -> None:
    assert shingles("水は濡れている。 wet") == {
        ("水", "は"),
        ("は", "濡"),
        ("濡", "れ"),
        ("れ", "て"),
        ("て", "い"),
        ("い", "る"),
        ("る", "。"),
        ("。", "wet"),
    }
