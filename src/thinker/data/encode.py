"""From an example to token ids and loss weights: `ids(prompt) + ids(completion) + eos`, the two tokenized apart.

Tokenizing them apart makes training see exactly the prompt ids that evaluation will send.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from thinker.errors import PreconditionError
from thinker.tasks.base import Example, Prompt, WeightSpan

Offsets = Sequence[tuple[int, int]]
log = logging.getLogger("thinker")

# Templates that state a date take it from `date_string`; a fixed one keeps prompts the same from day to day.
TEMPLATE_DATE = "01 Jan 2025"


class TextTokenizer(Protocol):
    """What encoding needs of a tokenizer; `transformers` fast tokenizers have it."""

    eos_token_id: int | None
    chat_template: Any
    is_fast: bool

    def __call__(self, text: str, *, add_special_tokens: bool, return_offsets_mapping: bool = False) -> Any: ...

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool, date_string: str
    ) -> Any: ...


@dataclass(frozen=True)
class EncodedExample:
    """One row as token ids.

    Attributes:
        ids: int[T], prompt, completion and end-of-sequence.
        weights: float[C], the loss weights of the last C ids as targets (completion and end-of-sequence). The
            prompt's T - C ids have weight 0.
    """

    ids: list[int]
    weights: list[float]

    @property
    def prompt_length(self) -> int:
        """Number of ids of the prompt."""
        return len(self.ids) - len(self.weights)


class Encoder:
    """Encodes prompts and completions with one tokenizer in one prompt format.

    Attributes:
        eos_id: ends each completion.
        leading_ids: special tokens before each raw prompt.
        is_dated: whether the chat template writes today's date into prompts, whatever it is given.

    Raises:
        PreconditionError: the tokenizer lacks what the format needs (offsets, end-of-sequence, a chat template).
    """

    def __init__(self, tokenizer: TextTokenizer, prompt_format: str) -> None:
        if not tokenizer.is_fast:
            raise PreconditionError("the model's tokenizer gives no character offsets (it is not a fast tokenizer)")
        if tokenizer.eos_token_id is None:
            raise PreconditionError("the model's tokenizer has no end-of-sequence token; a completion could never end")
        if prompt_format == "chat" and not tokenizer.chat_template:
            raise PreconditionError(
                "model.prompt_format is 'chat', but the model's tokenizer has no chat template; use 'raw'"
            )
        self.is_dated = prompt_format == "chat" and _asks_for_today(str(tokenizer.chat_template))
        if self.is_dated:
            log.warning("the model's chat template writes today's date into each prompt: adapters differ by the day")
        self._tokenizer = tokenizer
        self._prompt_format = prompt_format
        self.eos_id: int = tokenizer.eos_token_id
        self.leading_ids: tuple[int, ...] = _leading_special_ids(tokenizer) if prompt_format == "raw" else ()

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """The ids that training learns from and evaluation sends for `prompt`.

        Raises:
            ValueError: a conversation in format `raw`, one that the chat template refuses, or a prompt without a token.
        """
        text = self._rendered(prompt) if self._prompt_format == "chat" else prompt
        if not isinstance(text, str):
            raise ValueError("a row of chat messages needs model.prompt_format: chat")
        ids = list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        leading = list(self.leading_ids)
        ids = ids if ids[: len(leading)] == leading else leading + ids
        if not ids:
            raise ValueError("the prompt is empty: nothing could predict the completion's first token")
        return ids

    def _rendered(self, prompt: Prompt) -> str:
        turns = (
            [{"role": "user", "content": prompt}]
            if isinstance(prompt, str)
            else [{"role": turn.role, "content": turn.content} for turn in prompt]
        )
        try:
            text = self._tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True, date_string=TEMPLATE_DATE
            )
        except Exception as error:  # a template refuses in its own words (jinja2.TemplateError)
            raise ValueError(f"the model's chat template refuses the row: {error}") from error
        return str(text)

    def encode(self, example: Example, spans: Sequence[WeightSpan] = ()) -> EncodedExample:
        """Token ids and loss weights of `example`; `spans` are in characters of its completion.

        Raises:
            ValueError: the prompt does not fit the prompt format.
        """
        encoded = self._tokenizer(example.completion, add_special_tokens=False, return_offsets_mapping=True)
        weights = token_weights(encoded["offset_mapping"], len(example.completion), spans)
        ids = [*self.prompt_ids(example.prompt), *encoded["input_ids"], self.eos_id]
        return EncodedExample(ids, [*weights, 1.0])


def token_weights(offsets: Offsets, text_length: int, spans: Sequence[WeightSpan]) -> list[float]:
    """The loss weight of each token of a text: the largest weight among the characters it covers, 1 outside all spans.

    Args:
        offsets: for each token, the characters [start, end) it covers.
        text_length: characters in the text.
        spans: parts of the text with a weight of their own.
    """
    if not spans:
        return [1.0] * len(offsets)
    of_character = [1.0] * text_length
    for span in spans:
        of_character[span.start : span.end] = [span.weight] * (span.end - span.start)
    return [max(of_character[start:end], default=1.0) for start, end in offsets]


def _asks_for_today(chat_template: str) -> bool:
    return "strftime_now" in chat_template and "date_string" not in chat_template


def _leading_special_ids(tokenizer: TextTokenizer) -> tuple[int, ...]:
    """The special tokens that the tokenizer itself puts before a text."""
    probe = "a"
    bare = list(tokenizer(probe, add_special_tokens=False)["input_ids"])
    full = list(tokenizer(probe, add_special_tokens=True)["input_ids"])
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return tuple(full[:start])
    return ()
