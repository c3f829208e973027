"""Many small texts written as a few large ones: each write to a stream that masks secrets looks for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TextIO, cast

_BATCH_CHARACTERS: Final = 1 << 16


class _Batches:
    """Hands texts on whole, so that no secret in one is cut in two."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._texts: list[str] = []
        self._length = 0

    def write(self, text: str) -> int:
        self._texts.append(text)
        self._length += len(text)
        if self._length >= _BATCH_CHARACTERS:
            self.hand_on()
        return len(text)

    def hand_on(self) -> None:
        self._stream.write("".join(self._texts))
        self._texts, self._length = [], 0


@contextmanager
def batched(stream: TextIO) -> Iterator[TextIO]:
    """`stream`, to which texts are handed on in batches, the last one at the end."""
    batches = _Batches(stream)
    yield cast(TextIO, batches)
    batches.hand_on()
