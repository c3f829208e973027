"""Whether a merged model does what base model and adapter do: the same rows through both, and what differs.

Both compute in the precision that they have: base model and adapter as they are evaluated, the merged model as it was
read back from its files. Two figures must hold.

- Row by row, the largest difference of a logit, over the largest logit of base model and adapter, is at most:

  | written in, base model unquantized or 4-bit | at most |
  |---|---|
  | `float32`, evaluated in `float32` | 0.0005 |
  | `float16`, and `float32` evaluated in it | 0.05 |
  | `bfloat16`, and `float32` evaluated in it | 0.25 |
  | any, over an 8-bit base model | 0.5 |

- Over all rows, the root mean square of the differences is at most half of that of the adapter's effect: the merged
  model is nearer to the adapter than to the base model. A small change to large weights can vanish in their rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch

from thinker.errors import ComparisonError, EvaluationError
from thinker.merging.rows import ParityRow
from thinker.progress import track

CONTINUATION_TOKENS: Final = 16
"""Greedy tokens after each row's prompt."""
MOST_POSITIONS: Final = 64
"""Positions of a row whose logits are compared: those that predict the completion, from its first token on."""

_LIMITS: Final = {"float32": 0.0005, "float16": 0.05, "bfloat16": 0.25}
_EIGHT_BIT_LIMIT: Final = 0.5
_MOST_OF_THE_EFFECT: Final = 0.5


def limit(written: str, evaluated: str, quantization: str) -> float:
    """The largest difference that is allowed, as a part of the largest logit."""
    if quantization == "8bit":  # whose products round activations to 8 bits, too
        return _EIGHT_BIT_LIMIT
    return max(_LIMITS[written], _LIMITS[evaluated])


@dataclass(frozen=True)
class RowOutput:
    """What a model makes of a row.

    Attributes:
        logits: float32[P, V] on the CPU, at the positions that predict the completion.
        continuation: greedy ids after the prompt; empty where none were asked for.
    """

    logits: torch.Tensor
    continuation: tuple[int, ...]


@dataclass(frozen=True)
class RowParity:
    """How a row compares.

    Attributes:
        row: its name.
        positions: compared.
        max_logit_difference: over positions and vocabulary.
        allowed_logit_difference: `limit` times the row's largest logit.
        agreeing_positions: where both models' likeliest token is the same.
        continuation_agrees: whether both continue the prompt with the same greedy tokens.
    """

    row: str
    positions: int
    max_logit_difference: float
    allowed_logit_difference: float
    agreeing_positions: int
    continuation_agrees: bool


@dataclass(frozen=True)
class Parity:
    """How a merged model compares with base model and adapter.

    Attributes:
        rows: each row's figures.
        limit: the largest difference allowed, as a part of the largest logit.
        max_logit_difference: of all rows.
        rms_logit_difference: root mean square over all logits.
        rms_adapter_effect: the same of base model with and without adapter.
        greedy_agreement: share of all positions at which the likeliest token is the same.
        continuation_agreement: share of rows whose greedy continuations are the same.
        continuation_tokens: length of those.
    """

    rows: tuple[RowParity, ...]
    limit: float
    max_logit_difference: float
    rms_logit_difference: float
    rms_adapter_effect: float
    greedy_agreement: float
    continuation_agreement: float
    continuation_tokens: int = CONTINUATION_TOKENS

    def require(self) -> None:
        """Refuse a merged model that is another one.

        Raises:
            ComparisonError: names the worst row, or what the rounding made of the adapter.
        """
        worst = max(self.rows, key=lambda row: row.max_logit_difference / row.allowed_logit_difference)
        # Written so that a difference that is not a number is refused, too.
        if not worst.max_logit_difference <= worst.allowed_logit_difference:
            raise ComparisonError(
                f"the merged model is not base model and adapter: on {worst.row} a logit differs by "
                f"{worst.max_logit_difference:.4g}, where {worst.allowed_logit_difference:.4g} is allowed; nothing was "
                "written"
            )
        if not self.rms_logit_difference <= _MOST_OF_THE_EFFECT * self.rms_adapter_effect:
            raise ComparisonError(
                f"rounding weighs as much as the adapter: merged, the logits differ by {self.rms_logit_difference:.3g} "
                f"(root mean square), and the adapter changes them by {self.rms_adapter_effect:.3g}; write with "
                "--dtype float32, and compare with --set pipeline.evaluation.dtype=float32; nothing was written"
            )

    def as_json(self) -> dict[str, Any]:
        """All figures, as manifest and `--json` have them."""
        return asdict(self)


def row_outputs(
    model: Any, rows: Sequence[ParityRow], label: str, *, eos_id: int, continued: bool = True
) -> list[RowOutput]:
    """What `model` makes of `rows`, one at a time.

    Args:
        model: in evaluation mode.
        rows: what both models are given.
        label: of the progress bar.
        eos_id: ends a continuation.
        continued: whether to continue the prompts.
    """
    found = []
    with torch.no_grad(), track(label, len(rows), "rows") as bar:
        for row in rows:
            ids = torch.tensor([row.ids], device=model.device)
            at = slice(row.prompt_length - 1, min(len(row.ids) - 1, row.prompt_length - 1 + MOST_POSITIONS))
            logits = model(input_ids=ids).logits[0, at].float().cpu()
            prompt = ids[:, : row.prompt_length]
            found.append(RowOutput(logits, _continuation(model, prompt, eos_id) if continued else ()))
            bar.advance()
    return found


def compared(
    merged: Sequence[RowOutput],
    adapted: Sequence[RowOutput],
    base: Sequence[RowOutput],
    rows: Sequence[ParityRow],
    *,
    limit: float,
) -> Parity:
    """The figures of parity.

    Args:
        merged: outputs of the merged model.
        adapted: of base model and adapter.
        base: of the base model alone.
        rows: what they were given.
        limit: the largest difference allowed, as a part of the largest logit.

    Raises:
        EvaluationError: the adapter has no effect on any row.
    """
    effect = _rms([one.logits - other.logits for one, other in zip(adapted, base, strict=True)])
    if effect == 0:
        raise EvaluationError("the adapter changes nothing: the logits with and without it are equal; was it trained?")
    parities = tuple(_of_row(row, one, other, limit) for row, one, other in zip(rows, merged, adapted, strict=True))
    positions = sum(row.positions for row in parities)
    return Parity(
        rows=parities,
        limit=limit,
        max_logit_difference=max(row.max_logit_difference for row in parities),
        rms_logit_difference=_rms([one.logits - other.logits for one, other in zip(merged, adapted, strict=True)]),
        rms_adapter_effect=effect,
        greedy_agreement=sum(row.agreeing_positions for row in parities) / positions,
        continuation_agreement=sum(row.continuation_agrees for row in parities) / len(parities),
    )


def _of_row(row: ParityRow, merged: RowOutput, adapted: RowOutput, limit: float) -> RowParity:
    return RowParity(
        row=row.name,
        positions=len(adapted.logits),
        max_logit_difference=float((merged.logits - adapted.logits).abs().max()),
        allowed_logit_difference=limit * float(adapted.logits.abs().max()),
        agreeing_positions=int((merged.logits.argmax(-1) == adapted.logits.argmax(-1)).sum()),
        continuation_agrees=merged.continuation == adapted.continuation,
    )


def _rms(differences: Sequence[torch.Tensor]) -> float:
    squares = sum(float(difference.double().square().sum()) for difference in differences)
    return math.sqrt(squares / sum(difference.numel() for difference in differences))


def _continuation(model: Any, prompt: torch.Tensor, eos_id: int) -> tuple[int, ...]:
    from transformers import GenerationConfig

    settings = GenerationConfig(
        max_new_tokens=CONTINUATION_TOKENS, do_sample=False, eos_token_id=eos_id, pad_token_id=eos_id
    )
    output = model.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), generation_config=settings)
    return tuple(output[0, prompt.shape[1] :].tolist())
