"""Special tokens that a row spells out: text such as `<|im_end|>`, which becomes one control token."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from thinker.data.encode import TextTokenizer
from thinker.tasks.base import Message
from thinker.validation.preflight import CheckedRow, Found


class SpelledOut(NamedTuple):
    """A special token in a text."""

    token: str
    token_id: int
    start: int
    end: int


class SpecialText:
    """Finds special tokens in the texts of rows.

    Args:
        tokenizer: whose special tokens.
        leading_ids: those that a prompt may begin with, as the encoder then adds them no more.
    """

    def __init__(self, tokenizer: TextTokenizer, leading_ids: tuple[int, ...]) -> None:
        added = tokenizer.added_tokens_decoder.items()
        self._names = {token_id: str(token.content) for token_id, token in added if token.special}
        self._tokenizer, self._leading_ids, self._eos_id = tokenizer, leading_ids, tokenizer.eos_token_id
        longest_first = sorted(self._names.values(), key=len, reverse=True)
        self._search = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)").search

    def found(self, row: CheckedRow) -> Iterator[Found]:
        """What is to be said of a row's texts, one thing for each text."""
        completion = row.example.completion
        if self._search(completion) and (tokens := self.in_text(completion)):
            ends_twice = tokens[-1].token_id == self._eos_id and not completion[tokens[-1].end :].strip()
            yield _found(row, completion_field(row), completion, tokens, ends_twice=ends_twice)
        for field, text in prompt_texts(row):
            if self._search(text) and (tokens := self._beyond_leading(text)):
                yield _found(row, field, text, tokens)

    def in_text(self, text: str) -> list[SpelledOut]:
        """The special tokens that `text` spells out, in order, as the tokenizer finds them."""
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        found = (
            SpelledOut(self._names[token_id], token_id, start, end)
            for token_id, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
            if token_id in self._names
        )
        # An unknown character is a special token too, but spells none.
        return [each for each in found if each.token in text[each.start : each.end]]

    def _beyond_leading(self, text: str) -> list[SpelledOut]:
        tokens, leading = self.in_text(text), self._leading_ids
        begins = tuple(each.token_id for each in tokens[: len(leading)]) == leading
        at_start = begins and text.startswith("".join(each.token for each in tokens[: len(leading)]))
        return tokens[len(leading) :] if at_start else tokens


def completion_field(row: CheckedRow) -> str:
    """Path of the value that the task took as completion; empty where the task made it up."""
    return _field(row, "completion", row.example.completion) or _message_field(row, len(_turns(row)))


def prompt_texts(row: CheckedRow) -> Iterator[tuple[str, str]]:
    """Path and text of each part of the prompt."""
    if isinstance(row.example.prompt, str):
        yield _field(row, "prompt", row.example.prompt), row.example.prompt
    for index, turn in enumerate(_turns(row)):
        yield _message_field(row, index), turn.content


def _turns(row: CheckedRow) -> tuple[Message, ...]:
    return row.example.prompt if isinstance(row.example.prompt, tuple) else ()


def _field(row: CheckedRow, name: str, text: str) -> str:
    return name if row.value.get(name) == text else ""


def _message_field(row: CheckedRow, index: int) -> str:
    return f"messages[{index}].content" if isinstance(row.value.get("messages"), list) else ""


def _found(row: CheckedRow, field: str, text: str, tokens: list[SpelledOut], *, ends_twice: bool = False) -> Found:
    first = tokens[0]
    more = f", and {len(tokens) - 1} more such tokens" if len(tokens) > 1 else ""
    twice = "; the end of the answer then stands there twice" if ends_twice else ""
    message = f"'{first.token}' at character {first.start} becomes special token {first.token_id}{more}{twice}"
    return Found("special-token", message, row, field, text[max(0, first.start - 20) :])
