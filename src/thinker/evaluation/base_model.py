"""The base model as it is evaluated: on which device, in which precision, how quantized."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinker.config.experiment import Experiment
from thinker.modeling.devices import DtypeName, has_native_bf16, resolve_device, resolve_precision
from thinker.modeling.load import ModelSource, load_base_model

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class EvaluatedModel:
    """How the base model of an experiment is loaded for evaluation.

    Attributes:
        source: which model.
        device: where it goes.
        dtype: precision of its weights.
        quantization: `4bit`, `8bit` or `none`.
        device_map: as Transformers takes it.
        announcements: settings that the hardware could not honour, and what was done instead.
    """

    source: ModelSource
    device: torch.device
    dtype: DtypeName
    quantization: str
    device_map: str | dict[str, str | int] | None
    announcements: tuple[str, ...]

    @classmethod
    def of(cls, experiment: Experiment, cache_dir: Path) -> EvaluatedModel:
        """What recipe and `evaluation` section say, as far as they are there.

        Raises:
            ConfigError: neither file names a base model.
            PreconditionError: a device that this machine does not have.
        """
        recipe, evaluation = experiment.recipe, experiment.pipeline.evaluation
        model = recipe.model if recipe else None
        device = resolve_device(model.device if model else "auto")
        precision = resolve_precision(
            fp16=recipe.training.fp16 if recipe else False,
            bf16=recipe.training.bf16 if recipe else None,
            dtype=model.dtype if model else "auto",
            device_type=device.type,
            native_bf16=has_native_bf16(device),
        )
        chosen = evaluation.dtype if evaluation else "auto"
        return cls(
            source=ModelSource.of(experiment, cache_dir),
            device=device,
            dtype=precision.storage if chosen == "auto" else chosen,
            quantization=(model.quantization if model else None) or "none",
            device_map=model.device_map if model else "auto",
            announcements=precision.announcements,
        )

    def load(self) -> Any:
        """The model, in evaluation mode.

        Raises:
            PreconditionError: there is no such model, or bitsandbytes is missing.
        """
        return load_base_model(
            self.source,
            device=self.device,
            dtype=self.dtype,
            quantization=self.quantization,
            device_map=self.device_map,
        )
