"""Prepare a model for training without waste, and prove on its own rows that it still computes the same.

What is used is decided here once, by what the model is made of: packed rows where each layer attends in the ordinary
causal way, fused parts where their formula is known, the head's loss without logits where nothing follows the head.
Then a few tokens go through the model both ways. Where the losses differ, the model is more than it seemed: the
ordinary way is taken, and said.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch

from thinker.data.encode import EncodedExample
from thinker.training.hf_peft import attention, fused
from thinker.training.hf_peft.attention import AttentionNotPlainError
from thinker.training.hf_peft.head import LossHead
from thinker.training.hf_peft.loss import PackedRows, PaddedRows, RowLayout, base_of, keeps_logits

log = logging.getLogger("thinker")
PROOF_ROWS = 2
_PROOF_TOKENS = 48
# Of a loss summed over some tokens, between two orders of the same sums.
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 1e-2}
# Names under which configurations say that scores or logits are more than a product, or that not all is attended to.
_SCORES_CHANGED = ("attn_logit_softcapping", "attention_dropout", "attn_pdrop", "attention_chunk_size")
_LOGITS_CHANGED = (
    "final_logit_softcapping",
    "logit_scale",
    "logits_scaling",
    "output_multiplier",
    "lm_head_multiplier",
)
_OWN_ATTENTION: WeakKeyDictionary[torch.nn.Module, str] = WeakKeyDictionary()


@dataclass(frozen=True)
class Engine:
    """How a model is trained.

    Attributes:
        layout: makes micro-batches and their loss.
        parts: what was put in place of the model's own, and how often; empty where nothing was.
        reason: why the ordinary way was taken; None where it was not.
    """

    layout: RowLayout
    parts: dict[str, int]
    reason: str | None = None


def prepare_engine(
    model: Any,
    examples: Sequence[EncodedExample],
    *,
    pad_id: int,
    device: torch.device,
    compute: torch.dtype,
    longest: int,
    sharded: bool = False,
) -> Engine:
    """Change `model` in place for training, and say how its rows are to lie.

    Args:
        model: base model with a fresh adapter.
        examples: some of the rows; the ends of the first ones are what the proof is made on.
        pad_id: fills up padded rows.
        device: that computes.
        compute: precision of the passes.
        longest: tokens of the longest row.
        sharded: whether the model's weights will be spread over processes.
    """
    padded = PaddedRows(pad_id, _weight_dtype(device), keeps_logits(model))
    if reason := unsuited(model, device=device, longest=longest, sharded=sharded):
        return Engine(padded, {}, reason)
    rows = [_end_of(example) for example in examples[:PROOF_ROWS]]
    before = _loss(model, padded, rows, device, compute)
    engine = fuse(model, device)
    try:
        after = _loss(model, engine.layout, rows, device, compute)
    except AttentionNotPlainError as error:
        reason = str(error)
    else:
        if math.isclose(before, after, rel_tol=_TOLERANCE[compute], abs_tol=1e-6):
            return engine
        reason = f"packed rows have a loss of {after:.6g} where padded ones have {before:.6g}"
    unfuse(model)
    log.warning("the model trains by its own modules, on padded rows: %s", reason)
    return Engine(padded, {}, reason)


def unsuited(model: Any, *, device: torch.device, longest: int, sharded: bool = False) -> str | None:
    """Why `model` has to be trained the ordinary way; None where nothing it says of itself speaks against packing."""
    base = base_of(model)
    config = base.config.get_text_config()
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    changed = [name for name in _SCORES_CHANGED if getattr(config, name, None)]
    reasons = {
        "weights are spread over processes": sharded,
        f"not tried on {device.type}": device.type not in ("cpu", "cuda"),
        "the model lies on several devices, or takes no logits_to_keep": not keeps_logits(model),
        "its attention cannot be replaced": not getattr(base, "_supports_attention_backend", False),
        f"its layers are {', '.join(sorted(kinds))}": bool(kinds),
        f"its configuration sets {', '.join(changed)}": bool(changed),
        f"rows of {longest} tokens do not fit its window of {window}": window is not None and window < longest,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def fuse(model: Any, device: torch.device) -> Engine:
    """Put in place all that can be. Nothing is proved here."""
    base = base_of(model)
    attention.register()
    _OWN_ATTENTION[base] = base.config._attn_implementation
    base.config._attn_implementation = attention.NAME
    parts = fused.install(model)
    head = _loss_head(base)
    if head is not None:
        head.install()
    parts["head"] = int(head is not None)
    return Engine(PackedRows(_weight_dtype(device), head), parts)


def unfuse(model: Any) -> None:
    """Undo `fuse`."""
    base = base_of(model)
    fused.remove(model)
    base.config._attn_implementation = _OWN_ATTENTION.pop(base)
    base.get_output_embeddings().__dict__.pop("forward", None)


def _loss_head(base: Any) -> LossHead | None:
    """The head, where it is a frozen matrix and its logits are the model's."""
    head, config = base.get_output_embeddings(), base.config.get_text_config()
    plain = type(head) is torch.nn.Linear and head.bias is None and not head.weight.requires_grad
    scaled = [name for name in _LOGITS_CHANGED if getattr(config, name, None) not in (None, 1, 1.0)]
    return LossHead(head) if plain and not scaled else None


def _weight_dtype(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64


def _end_of(example: EncodedExample) -> EncodedExample:
    return EncodedExample(example.ids[-_PROOF_TOKENS:], example.weights[-_PROOF_TOKENS + 1 :])


def _loss(
    model: Any, layout: RowLayout, rows: Sequence[EncodedExample], device: torch.device, compute: torch.dtype
) -> float:
    """The rows' loss in evaluation mode, so that no random number is drawn."""
    batch = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in layout.collate(rows, 1.0).items()
    }
    was_training = model.training
    model.eval()
    with torch.no_grad(), torch.autocast(device.type, dtype=compute, enabled=compute != torch.float32):
        loss = float(layout.nll_sum(model, batch))
    model.train(was_training)
    return loss
