"""The loss of a step: Σ weight · nll / Σ weight over the whole step, however it is cut into micro-batches."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from thinker.data.encode import EncodedExample


@dataclass(frozen=True)
class Collator:
    """Makes a micro-batch, padded on the right to its longest row and no further.

    Attributes:
        pad_id: fills up; it has weight 0 and is not attended to, so any id will do.
        weight_dtype: float64, except on devices that lack it.
    """

    pad_id: int
    weight_dtype: torch.dtype = torch.float64

    def __call__(self, examples: Sequence[EncodedExample], step_weight: float) -> dict[str, torch.Tensor]:
        """Tensors of a micro-batch of B rows, the longest of T ids.

        Returns:
            input_ids: int64[B, T]; attention_mask: int64[B, T]; weights: float[B, T], of each id as a target;
            step_weight: float scalar, Σ weight over the optimizer step that the micro-batch belongs to.
        """
        longest = max(len(example.ids) for example in examples)
        input_ids = torch.full((len(examples), longest), self.pad_id, dtype=torch.int64)
        attention_mask = torch.zeros_like(input_ids)
        weights = torch.zeros((len(examples), longest), dtype=self.weight_dtype)
        for row, example in enumerate(examples):
            length = len(example.ids)
            input_ids[row, :length] = torch.tensor(example.ids)
            attention_mask[row, :length] = 1
            weights[row, example.prompt_length : length] = torch.tensor(example.weights, dtype=self.weight_dtype)
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "weights": weights,
            "step_weight": torch.tensor(step_weight, dtype=self.weight_dtype),
        }


def weighted_nll_sum(model: Any, batch: dict[str, torch.Tensor], *, keeps_logits: bool) -> torch.Tensor:
    """Σ weight · negative log-probability over a micro-batch (a scalar in the weights' precision).

    Args:
        model: a causal language model.
        batch: as the collator makes it.
        keeps_logits: whether the model's forward takes `logits_to_keep`, so that logits are computed only at the
            positions of which some row's next id has weight.
    """
    return nll_sum_at(model, batch, trained_positions(batch["weights"]), keeps_logits=keeps_logits)


def trained_positions(weights: torch.Tensor) -> torch.Tensor:
    """int64[P]: the positions at which some row's next id has weight (`weights`: float[B, T])."""
    return weights[:, 1:].any(dim=0).nonzero().squeeze(-1)


def nll_sum_at(
    model: Any, batch: dict[str, torch.Tensor], positions: torch.Tensor, *, keeps_logits: bool
) -> torch.Tensor:
    """As `weighted_nll_sum`, over the next ids of `positions` (int64[P]) alone."""
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    selection = {"logits_to_keep": positions} if keeps_logits else {}
    logits = model(**inputs, **selection).logits
    if not keeps_logits:
        logits = logits[:, positions]
    targets = batch["input_ids"][:, positions + 1]
    weights = batch["weights"][:, positions + 1].flatten()
    nll = functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    return (nll.to(weights.dtype) * weights).sum()


def keeps_logits(model: Any) -> bool:
    """Whether the base model's forward can be asked for the logits of some positions alone.

    A model spread over several devices cannot: the positions would lie on the first, the hidden states on the last.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if len(set((getattr(base, "hf_device_map", None) or {}).values())) > 1:
        return False
    return "logits_to_keep" in inspect.signature(base.forward).parameters
