"""From an example to token ids and loss weights: `ids(prompt) + ids(completion) + eos`, the two tokenized apart.

Tokenizing them apart makes training see exactly the prompt ids that evaluation will send.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from thinker.data.tokenizer_threads import all_cores
from thinker.errors import PreconditionError
from thinker.tasks.base import Example, Prompt, WeightSpan

Offsets = Sequence[tuple[int, int]]
log = logging.getLogger("thinker")

# Templates that state a date take it from `date_string`; a fixed one keeps prompts the same from day to day.
TEMPLATE_DATE = "01 Jan 2025"

# Bounds on what is tokenized at once: enough to keep all cores busy, little enough for rows of any length.
_BATCH_ROWS: Final = 256
_BATCH_CHARACTERS: Final = 1 << 20
# Merges of tokens reach some characters, not this many.
_SEAM_CHARACTERS: Final = 200


class TextTokenizer(Protocol):
    """What encoding needs of a tokenizer: fast ones of `transformers` have it, and `thinker.data.tokenizer_files`."""

    bos_token_id: int | None
    eos_token_id: int | None
    chat_template: Any
    is_fast: bool

    @property
    def added_tokens_decoder(self) -> Mapping[int, Any]:
        """The tokens that are matched before all others, by id; each has `content` and `special`."""
        ...

    def __call__(
        self, text: str | list[str], *, add_special_tokens: bool, return_offsets_mapping: bool = False
    ) -> Any: ...

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool, date_string: str
    ) -> Any: ...

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]: ...


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
        return self._begun(self._tokenizer(self.prompt_text(prompt), add_special_tokens=False)["input_ids"])

    def prompt_text(self, prompt: Prompt) -> str:
        """What is tokenized for `prompt`: itself, or what the chat template makes of it.

        Raises:
            ValueError: a conversation in format `raw`, or one that the chat template refuses.
        """
        if self._prompt_format == "chat":
            return self._rendered(prompt)
        if not isinstance(prompt, str):
            raise ValueError("a row of chat messages needs model.prompt_format: chat")
        return prompt

    def encode(self, example: Example, spans: Sequence[WeightSpan] = ()) -> EncodedExample:
        """Token ids and loss weights of `example`; `spans` are in characters of its completion.

        Raises:
            ValueError: the prompt does not fit the prompt format.
        """
        (encoded,) = self.encode_all([(example, spans)])
        if isinstance(encoded, ValueError):
            raise encoded
        return encoded

    def encode_all(
        self, examples: Iterable[tuple[Example, Sequence[WeightSpan]]]
    ) -> Iterator[EncodedExample | ValueError]:
        """As `encode`, one by one, on all cores; for an example that cannot be encoded, the error in its place."""
        for batch in _batches(examples):
            texts = [self._text_or_error(example.prompt) for example, _ in batch]
            with all_cores():
                prompts = self._tokenizer(
                    [text if isinstance(text, str) else "" for text in texts], add_special_tokens=False
                )
                completions = self._tokenizer(
                    [example.completion for example, _ in batch], add_special_tokens=False, return_offsets_mapping=True
                )
            found = zip(
                batch, texts, prompts["input_ids"], completions["input_ids"], completions["offset_mapping"], strict=True
            )
            for (example, spans), text, prompt_ids, ids, offsets in found:
                if isinstance(text, ValueError):
                    yield text
                    continue
                try:
                    begun = self._begun(prompt_ids)
                except ValueError as error:
                    yield error
                    continue
                weights = token_weights(offsets, len(example.completion), spans)
                yield EncodedExample([*begun, *ids, self.eos_id], [*weights, 1.0])

    def seams_differ(self, examples: Sequence[Example]) -> list[bool]:
        """For each example that can be encoded: whether its texts, joined before they are tokenized, give other ids.

        Only the characters around the seam are looked at: all others are cut into tokens alike.
        """
        before = [self.prompt_text(example.prompt)[-_SEAM_CHARACTERS:] for example in examples]
        after = [example.completion[:_SEAM_CHARACTERS] for example in examples]
        if not examples:
            return []
        joined = [one + other for one, other in zip(before, after, strict=True)]
        with all_cores():
            ids = self._tokenizer([*before, *after, *joined], add_special_tokens=False)["input_ids"]
        count = len(examples)
        return [ids[i] + ids[count + i] != ids[2 * count + i] for i in range(count)]

    def _begun(self, ids: Sequence[int]) -> list[int]:
        """A prompt's ids with the leading special ones, once."""
        leading = list(self.leading_ids)
        begun = list(ids) if list(ids[: len(leading)]) == leading else [*leading, *ids]
        if not begun:
            raise ValueError("the prompt is empty: nothing could predict the completion's first token")
        return begun

    def _text_or_error(self, prompt: Prompt) -> str | ValueError:
        try:
            return self.prompt_text(prompt)
        except ValueError as error:
            return error

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


def _batches(
    examples: Iterable[tuple[Example, Sequence[WeightSpan]]],
) -> Iterator[list[tuple[Example, Sequence[WeightSpan]]]]:
    batch: list[tuple[Example, Sequence[WeightSpan]]] = []
    characters = 0
    for example, spans in examples:
        batch.append((example, spans))
        characters += len(example.completion) + sum(map(len, _texts(example.prompt)))
        if len(batch) == _BATCH_ROWS or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _texts(prompt: Prompt) -> tuple[str, ...]:
    return (prompt,) if isinstance(prompt, str) else tuple(turn.content for turn in prompt)


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
