"""The loss formula in float64 NumPy, slow and plain: what training's loss is held against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thinker.data.encode import EncodedExample


def reference_nll_sum(model: Any, rows: Sequence[EncodedExample]) -> float:
    """Σ weight · nll, row by row, from the model's logits."""
    import torch

    total = 0.0
    for row in rows:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([row.ids])).logits[0].numpy().astype(np.float64)
        shifted = logits - logits.max(axis=-1, keepdims=True)
        log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        weights = [0.0] * row.prompt_length + row.weights
        total += sum(-log_probabilities[t - 1, row.ids[t]] * weights[t] for t in range(1, len(row.ids)))
    return total
