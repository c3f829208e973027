"""Whether the token that training teaches as the end of an answer is the one that generation waits for.

Transformers stops at `eos_token_id` of `generation_config.json` (or else of `config.json`); a model tuned on chats
writes what its chat template puts after an answer. Training teaches the tokenizer's end-of-sequence token.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from thinker.data.encode import TEMPLATE_DATE, TextTokenizer

_ANSWER: Final = "Answer7"


def generation_stop_ids(folder: Path) -> frozenset[int]:
    """Where generation stops by the files in a model's folder; empty where they do not say."""
    for name in ("generation_config.json", "config.json"):
        try:
            found = json.loads((folder / name).read_text(encoding="utf-8"))["eos_token_id"]
        except (OSError, ValueError, LookupError, TypeError):
            continue
        return frozenset([found] if isinstance(found, int) else found or ())
    return frozenset()


def other_answer_end(tokenizer: TextTokenizer, prompt_format: str, stop_ids: frozenset[int]) -> str | None:
    """What is wrong with the end of the answers that training teaches; None where nothing is."""
    taught = tokenizer.eos_token_id
    assert taught is not None, "an encoder needs one"
    turn_end = _turn_end(tokenizer) if prompt_format == "chat" else None
    contradictions = []
    if turn_end not in (None, taught):
        contradictions.append(f"the chat template ends it with {_names(tokenizer, [turn_end])}")
    if stop_ids and taught not in stop_ids:
        contradictions.append(f"the model's generation settings stop only at {_names(tokenizer, stop_ids)}")
    if not contradictions:
        return None
    return (
        f"training teaches the tokenizer's {_names(tokenizer, [taught])} as the end of an answer, but "
        f"{' and '.join(contradictions)}; make them one: `eos_token` in the model's tokenizer_config.json"
    )


def _turn_end(tokenizer: TextTokenizer) -> int | None:
    """The special token that the chat template puts after an assistant's answer."""
    turns = [{"role": "user", "content": "Question"}, {"role": "assistant", "content": _ANSWER}]
    try:
        text = tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=False, date_string=TEMPLATE_DATE
        )
    except Exception:  # noqa: BLE001  a template raises what it likes; the rows say whether it can be used
        return None
    _, answer, after = str(text).rpartition(_ANSWER)
    special = {token_id for token_id, token in tokenizer.added_tokens_decoder.items() if token.special}
    ids = tokenizer(after, add_special_tokens=False)["input_ids"] if answer else ()
    return next((token_id for token_id in ids if token_id in special), None)


def _names(tokenizer: TextTokenizer, ids: Iterable[int | None]) -> str:
    known = sorted(each for each in ids if each is not None)
    return ", ".join(f"'{text}'" for text in tokenizer.convert_ids_to_tokens(known))
