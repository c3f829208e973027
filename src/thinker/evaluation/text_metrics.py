"""Metrics of free text: exact match and token F1.

Token F1 follows SQuAD (Rajpurkar et al., EMNLP 2016, section 6.1) without its removal of English articles.
"""

from __future__ import annotations

import string
import unicodedata
from collections import Counter


def exact_match(prediction: str, expected: str) -> bool:
    """Whether the two are equal after strip."""
    return prediction.strip() == expected.strip()


def token_f1(prediction: str, expected: str) -> float:
    """Harmonic mean of precision and recall of the bags of tokens; 1.0 if neither has a token, 0.0 if one has none."""
    predicted_tokens, expected_tokens = Counter(tokens(prediction)), Counter(tokens(expected))
    total = predicted_tokens.total() + expected_tokens.total()
    if total == 0:
        return 1.0
    return 2 * (predicted_tokens & expected_tokens).total() / total


def tokens(text: str) -> list[str]:
    """Lower-cased words between whitespace, without punctuation (Unicode's, and ASCII's symbols as in SQuAD)."""
    return "".join(char for char in text.lower() if not _is_punctuation(char)).split()


def _is_punctuation(char: str) -> bool:
    return char in string.punctuation or unicodedata.category(char).startswith("P")
