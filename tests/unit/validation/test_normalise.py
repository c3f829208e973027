"""Texts that say the same have one form; texts that do not, keep apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinker.validation.normalise import normalise


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("  Hello,\tWORLD!!\r\n", "hello world"),
        ("IL-2 (human)", "il 2 human"),
        ("snake_case", "snake case"),
        ("«Straße» – ΣΊΣΥΦΟΣ", "strasse σίσυφοσ"),
        ("ﬁne ① ５％ ﾊﾝ", "fine 1 5 ハン"),
        ("co\u00adoperate\u200b\ufeff now\u3000then\x00end", "cooperate now then end"),
        ("Cafe\u0301", "caf\u00e9"),
        ("αβ < 0.05 ± 1°", "αβ < 0 05 ± 1°"),
        ("12 + 5", "12 + 5"),
        (":-(", ":-("),
        (" ? ", "?"),
        ("", ""),
    ],
)
def test_the_form_of_a_text(text: str, form: str) -> None:
    assert normalise(text) == form


def test_sums_and_smileys_are_told_apart() -> None:
    assert normalise("1 + 1 < 3") != normalise("1 = 1 > 3")
    assert normalise(":-(") != normalise(":-)")


WORDS = st.lists(st.text(st.characters(categories=("L", "N", "S")), min_size=1, max_size=6), min_size=1, max_size=5)
BETWEEN = st.text(" \t\n\r.,;:!?()[]\"'«»–—_\u3000\u2028", min_size=1, max_size=3)


@given(st.text())
def test_the_form_of_a_form_is_itself(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(st.text(st.characters(exclude_categories=("M", "Cs"))))  # case folding may move marks past one another
def test_case_does_not_count(text: str) -> None:
    assert normalise(text.casefold()) == normalise(text)


@given(st.text("abcXYZäÖßéñΣσж "))
def test_capitals_do_not_count(text: str) -> None:
    assert normalise(text.upper()) == normalise(text) == normalise(text.lower())


def test_a_letter_and_its_marks_are_one_text_however_they_are_written() -> None:
    assert normalise("\u1fa3\u0338") == normalise("\u03c9\u0314\u0300\u0345\u0338")


@given(WORDS, st.data())
def test_what_stands_between_words_does_not_count(words: list[str], data: st.DataObject) -> None:
    other = "".join(word + data.draw(BETWEEN) for word in words)
    assert normalise(data.draw(BETWEEN) + other) == normalise(" ".join(words))
