from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinker.evaluation.text_metrics import exact_match, token_f1, tokens


@pytest.mark.parametrize(
    ("prediction", "expected", "equal"),
    [("Paris", "Paris", True), (" Paris\n", "Paris", True), ("paris", "Paris", False), ("Paris.", "Paris", False)],
)
def test_exact_match_is_equality_after_strip(prediction: str, expected: str, equal: bool) -> None:
    assert exact_match(prediction, expected) is equal


def test_tokens_are_lower_cased_words_without_punctuation() -> None:
    assert tokens("The  E. coli's «cost»: $5,000—“no”!") == ["the", "e", "colis", "cost", "5000no"]


@pytest.mark.parametrize(
    ("prediction", "expected", "f1"),
    [
        ("the cat sat", "The cat sat.", 1.0),
        ("the cat", "the dog", 0.5),
        ("a a b", "a b b", 2 / 3),  # overlap counts a token as often as both have it
        ("cat", "the cat sat", 0.5),  # precision 1, recall 1/3
        ("dog", "cat", 0.0),
        ("", "cat", 0.0),
        ("cat", "", 0.0),
        ("", "...", 1.0),
    ],
)
def test_token_f1(prediction: str, expected: str, f1: float) -> None:
    assert token_f1(prediction, expected) == pytest.approx(f1)


@given(st.text(), st.text())
def test_token_f1_is_symmetric_and_within_0_and_1(left: str, right: str) -> None:
    assert token_f1(left, right) == token_f1(right, left)
    assert 0 <= token_f1(left, right) <= 1
    assert token_f1(left, left) == 1
