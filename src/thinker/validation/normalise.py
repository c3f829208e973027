"""Texts as they are compared where case, spacing and punctuation are not to count."""

from __future__ import annotations

import unicodedata
from typing import Final


class _Replacements(dict[int, str | None]):
    """For `str.translate`: what stands for each character, looked up in Unicode's tables when first met."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        match unicodedata.category(character):
            case "Cf":  # soft hyphens, joiners, marks of direction: nothing is seen of them
                self[code] = None
            case "Zs" | "Zl" | "Zp" | "Cc" | "Pc" | "Pd" | "Ps" | "Pe" | "Pi" | "Pf" | "Po":
                self[code] = " "
            case _:
                self[code] = character
        return self[code]


_REPLACEMENTS: Final = _Replacements()


def normalise(text: str) -> str:
    """`text` in one form for all that differ only in case, white space, punctuation, invisible or compatibility forms.

    Unicode's NFKC and full case folding; whatever Unicode calls punctuation or white space becomes a single space, none
    at the ends. Symbols (`+`, `<`, `°`) stay, so that sums and inequalities are told apart; `*`, `/`, `-` and `%` are
    punctuation to Unicode and do not. Of a text without anything else, such as `:-(`, only the ends are stripped. The
    form of a form is itself.
    """
    if text.isascii():
        folded = text.lower()
    else:
        visible = text.translate(_REPLACEMENTS)
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", visible).casefold())
    return " ".join(folded.translate(_REPLACEMENTS).split()) or text.strip()
