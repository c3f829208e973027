"""What becomes of a row that is longer than `max_seq_length`, and the hash of what is left to train on."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Literal

from thinker.config.recipe_models import OverlongPolicy
from thinker.data.encode import EncodedExample

Outcome = Literal["kept", "dropped", "truncated", "overlong"]


@dataclass(frozen=True)
class FittedRow:
    """A row after `on_overlong` had its say.

    Attributes:
        example: as training gets it; whole where it does not (`dropped`, `overlong`).
        whole_length: ids before anything was cut.
        outcome: `overlong` is an error: by policy, or as the completion alone is too long.
    """

    example: EncodedExample
    whole_length: int
    outcome: Outcome

    @property
    def is_trained_on(self) -> bool:
        """Whether training gets the row."""
        return self.outcome in ("kept", "truncated")


def fit(encoded: EncodedExample, max_seq_length: int, on_overlong: OverlongPolicy, leading: int) -> FittedRow:
    """`encoded` in at most `max_seq_length` ids, as `on_overlong` has it. A completion is never cut.

    Args:
        encoded: the whole row.
        max_seq_length: most ids allowed.
        on_overlong: the recipe's policy.
        leading: special ids at the beginning that a cut prompt keeps.
    """
    length = len(encoded.ids)
    if length <= max_seq_length:
        return FittedRow(encoded, length, "kept")
    if on_overlong == "drop":
        return FittedRow(encoded, length, "dropped")
    if on_overlong == "truncate_prompt" and len(encoded.weights) < max_seq_length:
        return FittedRow(truncate_prompt(encoded, max_seq_length, leading), length, "truncated")
    return FittedRow(encoded, length, "overlong")


def truncate_prompt(encoded: EncodedExample, max_seq_length: int, leading: int) -> EncodedExample:
    """`encoded` cut to `max_seq_length` ids by taking ids from the prompt's left, after its `leading` special ids."""
    cut = cut_places(encoded, max_seq_length, leading)
    return EncodedExample([*encoded.ids[: cut.start], *encoded.ids[cut.stop :]], encoded.weights)


def cut_places(encoded: EncodedExample, max_seq_length: int, leading: int) -> range:
    """The places of the ids that `truncate_prompt` takes out."""
    excess = len(encoded.ids) - max_seq_length
    start = min(leading, encoded.prompt_length - excess)
    return range(start, start + excess)


class EncodingHash:
    """SHA-256 of encoded rows in order: the same for gate and training, or they do not mean the same rows."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, row: EncodedExample) -> None:
        """Take in the next row that is trained on: its two lengths, its ids, its weights, little-endian."""
        ids, weights = len(row.ids), len(row.weights)
        self._hash.update(struct.pack(f"<2I{ids}i{weights}d", ids, weights, *row.ids, *row.weights))

    def hexdigest(self) -> str:
        """The hash of the rows so far."""
        return self._hash.hexdigest()
