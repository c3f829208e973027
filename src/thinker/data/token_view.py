"""One row token by token, as training gets it: for people who want to see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from thinker.config.recipe_models import OverlongPolicy
from thinker.data.encode import Encoder, TextTokenizer
from thinker.data.fit import FittedRow, cut_places, fit
from thinker.tasks.base import Example, WeightSpan

Part = Literal["prompt", "completion", "end"]


@dataclass(frozen=True)
class ShownToken:
    """A token of a row.

    Attributes:
        token_id, token: its number and its spelling in the vocabulary.
        part: what it belongs to; `end` is the end-of-sequence token.
        weight: its loss weight as a target.
        span: characters [start, end) of the part's text that it covers; None for a token that the encoder added.
        text: these characters; empty without them.
        special: whether it is a control token.
    """

    token_id: int
    token: str
    part: Part
    weight: float
    span: tuple[int, int] | None
    text: str
    special: bool

    @property
    def mask(self) -> int:
        """1 where the model is to write the token, 0 where it is given."""
        return int(self.part != "prompt")


@dataclass(frozen=True)
class TokenView:
    """A row as tokens.

    Attributes:
        tokens: those that training gets; all of them where it does not get the row.
        fitted: what became of the row under `on_overlong`.
        prompt_text: what was tokenized as prompt, after the chat template.
        completion: the completion's text.
    """

    tokens: tuple[ShownToken, ...]
    fitted: FittedRow
    prompt_text: str
    completion: str

    def count(self, part: Part) -> int:
        """Number of tokens of a part."""
        return sum(token.part == part for token in self.tokens)


def view_tokens(
    example: Example,
    spans: Sequence[WeightSpan],
    encoder: Encoder,
    tokenizer: TextTokenizer,
    max_seq_length: int,
    on_overlong: OverlongPolicy,
) -> TokenView:
    """`example` as `encoder` encodes it, each token beside the text it stands for.

    Raises:
        ValueError: the example does not fit the prompt format.
    """
    encoded = encoder.encode(example, spans)
    leading = len(encoder.leading_ids)
    fitted = fit(encoded, max_seq_length, on_overlong, leading)
    text = encoder.prompt_text(example.prompt)
    prompt = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    completion = tokenizer(example.completion, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    added = encoded.prompt_length - len(prompt)
    places: list[tuple[Part, str, tuple[int, int] | None]] = [
        *(("prompt", "", None) for _ in range(added)),
        *(("prompt", text[start:end], (start, end)) for start, end in prompt),
        *(("completion", example.completion[start:end], (start, end)) for start, end in completion),
        ("end", "", None),
    ]
    weights = [0.0] * encoded.prompt_length + encoded.weights
    names = tokenizer.convert_ids_to_tokens(encoded.ids)
    special = {token_id for token_id, token in tokenizer.added_tokens_decoder.items() if token.special}
    tokens = [
        ShownToken(token_id, name, part, weight, span, covered, token_id in special)
        for token_id, name, weight, (part, covered, span) in zip(encoded.ids, names, weights, places, strict=True)
    ]
    if fitted.outcome == "truncated":
        cut = cut_places(encoded, max_seq_length, leading)
        del tokens[cut.start : cut.stop]
    return TokenView(tuple(tokens), fitted, text, example.completion)
