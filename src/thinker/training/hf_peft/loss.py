"""The loss of a step: Σ weight · nll / Σ weight over the whole step, however it is cut into micro-batches.

A micro-batch's rows reach the model in one of two layouts, which give the same sum: one under the other, padded to the
longest (`PaddedRows`, which every model understands), or one after another without padding (`PackedRows`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch.nn import functional

from thinker.data.encode import EncodedExample
from thinker.training.hf_peft.head import LossHead

Batch = dict[str, Any]
Collate = Callable[[Sequence[EncodedExample], float], Batch]


class RowLayout(Protocol):
    """How the rows of a micro-batch lie in tensors, and how their loss is had from the model."""

    name: ClassVar[str]

    @property
    def weight_dtype(self) -> torch.dtype:
        """Precision of weights and losses: float64, except on devices that lack it."""
        ...

    def collate(self, examples: Sequence[EncodedExample], step_weight: float) -> Batch:
        """The tensors of a micro-batch. `step_weight` is Σ weight over the optimizer step that it belongs to."""
        ...

    def nll_sum(self, model: Any, batch: Batch) -> torch.Tensor:
        """Σ weight · negative log-probability over the micro-batch, a scalar in the weights' precision."""
        ...


@dataclass(frozen=True)
class PaddedRows:
    """Rows padded on the right to the longest and no further.

    Attributes:
        pad_id: fills up; it has weight 0 and is not attended to, so any id will do.
        weight_dtype: of weights and losses.
        keeps_logits: whether the model's forward takes `logits_to_keep`, so that logits are computed only at the
            positions of which some row's next id has weight.
    """

    name: ClassVar[str] = "padded"
    pad_id: int
    weight_dtype: torch.dtype = torch.float64
    keeps_logits: bool = True

    def collate(self, examples: Sequence[EncodedExample], step_weight: float) -> Batch:
        """Tensors of a micro-batch of B rows, the longest of T ids.

        Returns:
            input_ids: int64[B, T]; attention_mask: int64[B, T]; positions: int64[P], before a target of some row;
            weights: float[B, T], of each id as a target; step_weight: float scalar.
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
            "positions": weights[:, 1:].any(dim=0).nonzero().squeeze(-1),
            "weights": weights,
            "step_weight": torch.tensor(step_weight, dtype=self.weight_dtype),
        }

    def nll_sum(self, model: Any, batch: Batch) -> torch.Tensor:
        """As `RowLayout`: logits at the positions of all rows alike."""
        weights, positions = batch["weights"], batch["positions"]
        inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        selection = {"logits_to_keep": positions} if self.keeps_logits else {}
        logits = model(**inputs, **selection).logits
        if not self.keeps_logits:
            logits = logits[:, positions]
        return _weighted_nll(logits.flatten(0, 1), batch["input_ids"][:, positions + 1], weights[:, positions + 1])


@dataclass(frozen=True)
class PackedRows:
    """Rows one after another, for a model whose attention is `attention.attend_rows`.

    Attributes:
        weight_dtype: of weights and losses.
        head: makes the loss of hidden states without logits; None where the model's own head makes logits.
    """

    name: ClassVar[str] = "packed"
    weight_dtype: torch.dtype = torch.float64
    head: LossHead | None = None

    def collate(self, examples: Sequence[EncodedExample], step_weight: float) -> Batch:
        """Tensors of a micro-batch of T ids in all, P of which are targets with weight.

        Returns:
            input_ids: int64[1, T]; position_ids: int64[1, T], from 0 in each row; row_lengths: of the rows;
            positions: int64[P], before each target; targets: int64[P]; weights: float[P]; step_weight: float scalar.
        """
        ids: list[int] = []
        positions: list[int] = []
        targets: list[int] = []
        weights: list[float] = []
        for example in examples:
            first = len(ids) + example.prompt_length
            trained = [
                place for place, weight in enumerate(example.weights) if weight and example.prompt_length + place
            ]
            positions += [first + place - 1 for place in trained]
            targets += [example.ids[example.prompt_length + place] for place in trained]
            weights += [example.weights[place] for place in trained]
            ids += example.ids
        lengths = tuple(len(example.ids) for example in examples)
        return {
            "input_ids": torch.tensor([ids]),
            "position_ids": torch.cat([torch.arange(length) for length in lengths]).unsqueeze(0),
            "row_lengths": lengths,
            "positions": torch.tensor(positions, dtype=torch.int64),
            "targets": torch.tensor(targets, dtype=torch.int64),
            "weights": torch.tensor(weights, dtype=self.weight_dtype),
            "step_weight": torch.tensor(step_weight, dtype=self.weight_dtype),
        }

    def nll_sum(self, model: Any, batch: Batch) -> torch.Tensor:
        """As `RowLayout`: logits, if any, at the targets' positions alone."""
        inputs = {name: batch[name] for name in ("input_ids", "position_ids", "row_lengths")}
        inputs["logits_to_keep"] = batch["positions"]
        if self.head is None:
            return _weighted_nll(model(**inputs).logits[0], batch["targets"], batch["weights"])
        with self.head.expecting(batch["targets"], batch["weights"]):
            total: torch.Tensor = model(**inputs).logits
        return total


def _weighted_nll(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Σ weight · nll of logits [P, V] at P targets."""
    nll = functional.cross_entropy(logits.float(), targets.flatten(), reduction="none")
    return (nll.to(weights.dtype) * weights.flatten()).sum()


def keeps_logits(model: Any) -> bool:
    """Whether the base model's forward can be asked for the logits of some positions alone.

    A model spread over several devices cannot: the positions would lie on the first, the hidden states on the last.
    """
    base = base_of(model)
    if len(set((getattr(base, "hf_device_map", None) or {}).values())) > 1:
        return False
    return "logits_to_keep" in inspect.signature(base.forward).parameters


def base_of(model: Any) -> Any:
    """The base model of a PEFT model; a model without an adapter is its own."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
