"""Rows beside each other: the same example twice, and one prompt with different completions."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from thinker.tasks.base import Prompt
from thinker.validation.normalise import normalise
from thinker.validation.preflight import CheckedRow, Found

_DIGEST_BYTES: Final = 8
_LINE_BITS: Final = 40
_PLACE_BITS: Final = 64


class Duplicates:
    """The check of rows against earlier rows. A row has one finding, the strongest.

    Keeps digests of 64 bits: the chance that any two texts among those of a million rows are wrongly taken for the same
    is one in ten million.

    Attributes:
        bytes_per_row: memory that it takes for each row, measured at its worst, just after its dictionaries have grown.
    """

    rules: tuple[str, ...] = ("duplicate", "duplicate-normalised", "conflict")
    bytes_per_row: Final = 300

    def __init__(self) -> None:
        self._files: list[Path] = []
        # digest of the normalised example -> of the first such row, digest of the example as it stands and place
        self._normalised: dict[int, int] = {}
        # digest of the example as it stands -> place; of rows that another normalises to, but not the first of those
        self._variants: dict[int, int] = {}
        # digest of the prompt as it stands -> place of the first such row
        self._prompts: dict[int, int] = {}
        self._counts: Counter[str] = Counter()

    def rows(self, batch: Sequence[CheckedRow]) -> Iterator[Found]:
        """Rows whose example or prompt an earlier row has."""
        for row in batch:
            if found := self._of_row(row):
                self._counts[found.rule] += 1
                yield found

    def finish(self) -> Iterable[Found]:
        """Nothing: each row was held against those before it."""
        return ()

    def statistics(self) -> Mapping[str, Any]:
        """`duplicates`: rows by what an earlier row has in common with them."""
        return {"duplicates": {rule: self._counts[rule] for rule in self.rules}}

    def _of_row(self, row: CheckedRow) -> Found | None:
        place = self._place(row)
        prompt, completion = _parts(row.example.prompt), row.example.completion
        with_prompt = self._prompts.setdefault(_digest(prompt), place)
        example, normalised = _digest([*prompt, completion]), _digest(map(normalise, [*prompt, completion]))
        first = self._normalised.setdefault(normalised, example << _PLACE_BITS | place)
        first_example, first_place = first >> _PLACE_BITS, first & ((1 << _PLACE_BITS) - 1)
        if first_place != place:
            if first_example != example and (same := self._variants.setdefault(example, place)) == place:
                what = f"but for case, punctuation and spacing, the example of {self._where(first_place)}"
                return Found("duplicate-normalised", what, row)
            same = first_place if first_example == example else same
            return Found("duplicate", f"the same example as {self._where(same)}", row)
        if with_prompt != place:
            what = f"the prompt of {self._where(with_prompt)} with another completion"
            return Found("conflict", what, row, value=completion)
        return None

    def _place(self, row: CheckedRow) -> int:
        if not self._files or self._files[-1] != row.file:
            self._files.append(row.file)
        return (len(self._files) - 1) << _LINE_BITS | row.line

    def _where(self, place: int) -> str:
        return f"{self._files[place >> _LINE_BITS].name}:{place & ((1 << _LINE_BITS) - 1)}"


def _parts(prompt: Prompt) -> list[str]:
    if isinstance(prompt, str):
        return [prompt]
    return [part for turn in prompt for part in (turn.role, turn.content)]


def _digest(texts: Iterable[str]) -> int:
    """64 bits that are equal for equal texts."""
    hashed = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for text in texts:
        content = text.encode()
        hashed.update(b"%d:" % len(content))
        hashed.update(content)
    return int.from_bytes(hashed.digest())
