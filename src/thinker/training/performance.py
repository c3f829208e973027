"""How fast a training was, and what it spent its time on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# What a step is made of; the other phases lie before, between and after the steps.
STEP_PHASES = ("data", "forward_backward", "optimizer")
PHASES = ("load", "start", *STEP_PHASES, "evaluation", "checkpoints", "saving")


@dataclass(frozen=True)
class Performance:
    """What this process measured; of a resumed training, the steps since it was resumed.

    Attributes:
        steps: optimizer steps.
        tokens: that went through the model in them, over all processes; padding is not counted.
        trained_tokens: those among them that carry loss.
        flops: floating-point operations that these rows take at least: the frozen base model's forward pass and the
            gradients of its activations. What is computed again, padding, and the adapter's own share are left out.
        seconds: by phase, of `PHASES`.
        devices: that computed together.
        peak_flops: what one device can do at most in the precision of the run; None where that is not known.
    """

    steps: int
    tokens: int
    trained_tokens: int
    flops: float
    seconds: Mapping[str, float]
    devices: int = 1
    peak_flops: float | None = None

    @property
    def step_seconds(self) -> float:
        """Time of all steps."""
        return sum(self.seconds.get(phase, 0.0) for phase in STEP_PHASES)

    @property
    def tokens_per_second(self) -> float | None:
        return self._rate(self.tokens)

    @property
    def trained_tokens_per_second(self) -> float | None:
        return self._rate(self.trained_tokens)

    @property
    def flops_per_second(self) -> float | None:
        """Of all devices together."""
        return self._rate(self.flops)

    @property
    def mfu(self) -> float | None:
        """Model FLOP/s utilization: achieved over possible (Chowdhery et al. 2022, "PaLM", appendix B)."""
        rate = self.flops_per_second
        return None if rate is None or self.peak_flops is None else rate / (self.peak_flops * self.devices)

    def _rate(self, count: float) -> float | None:
        return count / self.step_seconds if self.step_seconds else None
