"""The loss of adapters on held-out rows, measured by Transformers and PEFT alone; nothing of Thinker is imported.

Run: python benchmarks/heldout_loss.py MODEL ROWS.jsonl [ADAPTER ...] [--device cpu|cuda]

For each adapter, and for the base model without one, the mean negative log-probability of a completion's token (its
end-of-sequence included) given all before it, over the rows of `prompt` and `completion`: in float32, one row at a
time, without padding. Prints JSON: {"base": loss, ADAPTER: loss, ...}.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    """Print what each adapter comes to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("rows", type=Path)
    parser.add_argument("adapters", nargs="*")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    rows = list(encoded_rows(options.rows, tokenizer))
    losses = {}
    for adapter in (None, *options.adapters):
        model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
        if adapter is not None:
            model = PeftModel.from_pretrained(model, adapter)
        losses[adapter or "base"] = mean_loss(model.to(options.device).eval(), rows)
    print(json.dumps(losses))


def encoded_rows(path: Path, tokenizer: Any) -> Iterator[tuple[list[int], int]]:
    """For each row its ids, and how many of them are the prompt's."""
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        prompt = tokenizer(row["prompt"])["input_ids"]
        completion = tokenizer(row["completion"], add_special_tokens=False)["input_ids"]
        yield [*prompt, *completion, tokenizer.eos_token_id], len(prompt)


@torch.no_grad()
def mean_loss(model: Any, rows: list[tuple[list[int], int]]) -> float:
    """Over all tokens of all completions."""
    total, count = 0.0, 0
    for ids, prompt_length in rows:
        input_ids = torch.tensor([ids], device=model.device)
        logits = model(input_ids=input_ids).logits[0, prompt_length - 1 : -1]
        total += functional.cross_entropy(logits, input_ids[0, prompt_length:], reduction="sum").item()
        count += len(ids) - prompt_length
    return total / count


if __name__ == "__main__":
    main()
