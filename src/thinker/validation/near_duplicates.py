"""Texts that are nearly one of a small set, found exactly: no sketches, so nothing is missed and nothing made up.

Two texts are alike by the Jaccard index of their shingles (Broder, "On the resemblance and containment of documents",
1997): those in both over those in either. A shingle is a pair of neighbouring words. Few texts need be compared:
whoever shares enough of another's shingles shares one of its rarest (the prefix filter of Chaudhuri et al., "A
primitive operator for similarity joins in data cleaning", ICDE 2006).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

# As a fraction, so that no rounding decides. Of the hundred and more pairs of SciFact's train and dev claims that are
# at least so alike, each is about the same document: nearly all are one claim turned round, or with one figure changed.
SIMILAR: Final = (1, 2)

# Scripts that put no spaces between words: Thai to Khmer, and Chinese and Japanese. There a character is a word.
_UNSPACED: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD: Final = re.compile(f"[{_UNSPACED}]|[^\\s{_UNSPACED}]+")

Shingle = tuple[str, ...]


class Near(NamedTuple):
    """The text most like another.

    Attributes:
        place: its index; the first of several that are equally alike.
        similarity: Jaccard index, at least `SIMILAR`, at most 1.
        others: further texts that are alike enough.
    """

    place: int
    similarity: float
    others: int


def shingles(text: str) -> set[Shingle]:
    """The pairs of neighbouring words of a normalised text; of one word, that word."""
    words = text.split() if text.isascii() else _WORD.findall(text)
    return set(pairwise(words)) or {(word,) for word in words}


class NearDuplicates:
    """The texts to be found. Holds their shingles, in about 0.3 KB a word.

    What more than one in twenty of the texts have in common, and at least four of them, is form, such as an instruction
    that many prompts begin with, or "in the": its shingles do not count.

    Args:
        texts: normalised.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        of_texts = [shingles(text) for text in texts]
        frequency = Counter(shingle for each in of_texts for shingle in each)
        common = max(3, len(texts) // 20)
        self._form = frozenset(shingle for shingle, count in frequency.items() if count > common)
        self._of_texts = [each - self._form for each in of_texts]
        self._having: defaultdict[Shingle, list[int]] = defaultdict(list)
        for index, each in enumerate(self._of_texts):
            rarest_first = sorted(each, key=frequency.__getitem__)
            for shingle in rarest_first[: len(each) - _least_shared(len(each)) + 1]:
                self._having[shingle].append(index)

    def nearest(self, text: str) -> Near | None:
        """The text most like `text`, which is normalised; None where none is similar."""
        own = shingles(text) - self._form
        candidates = {index for shingle in own & self._having.keys() for index in self._having[shingle]}
        found = []
        for index in candidates:
            shared = len(own & self._of_texts[index])
            either = len(own) + len(self._of_texts[index]) - shared
            if shared * SIMILAR[1] >= either * SIMILAR[0]:
                found.append((-shared / either, index))
        if not found:
            return None
        similarity, index = min(found)
        return Near(index, -similarity, len(found) - 1)


def _least_shared(count: int) -> int:
    """How many of `count` shingles a text must share to be similar, at least."""
    return -(-count * SIMILAR[0] // SIMILAR[1])
