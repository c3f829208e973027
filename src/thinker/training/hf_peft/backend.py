"""Setup, train, save: the local backend from top to bottom."""

from __future__ import annotations

import errno
import logging
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thinker.errors import ConfigError, PreconditionError, ThinkerError, TrainingError
from thinker.modeling.determinism import prepare, thread_count
from thinker.modeling.devices import Precision, describe, precision_on, resolve_device
from thinker.modeling.load import ModelSource, load_base_model
from thinker.progress import track
from thinker.runs.lock import checkpoint_lock
from thinker.training.base import TrainingContext, TrainingReport
from thinker.training.hf_peft.artifacts import save_adapter

log = logging.getLogger("thinker")
NAME = "hf_peft"
_LESS_MEMORY = (
    "less memory: training.per_device_batch_size 1 with more gradient_accumulation_steps, "
    "training.gradient_checkpointing: true, model.quantization: 4bit, a smaller training.max_seq_length"
)


class HfPeftBackend:
    """Trains a LoRA adapter with Transformers and PEFT.

    Args:
        context: what to train on.
        callbacks: `transformers.TrainerCallback`s beside its own.
    """

    def __init__(self, context: TrainingContext, callbacks: Sequence[Any] = ()) -> None:
        recipe, checkpoint_dir = context.experiment.recipe, context.experiment.checkpoint_dir
        if recipe is None or checkpoint_dir is None or context.experiment.base_model is None:
            raise ConfigError("training needs a recipe, a base model and a checkpoint folder")
        self._context, self._recipe, self._callbacks = context, recipe, callbacks
        self._base_model: str = context.experiment.base_model
        self._checkpoint_dir: Path = checkpoint_dir

    def train(self) -> TrainingReport:
        """Follow the plan, under the checkpoint folder's lock.

        Raises:
            PreconditionError: no such model or device, packages missing, or the folder is in use.
            TrainingError: whatever else stops training; names backend and configuration.
        """
        try:
            with checkpoint_lock(self._checkpoint_dir):
                return self._train()
        except ThinkerError:
            raise
        except ImportError as error:  # of a package beyond the extra `hf`, which an optimizer asks for
            raise PreconditionError(f"{self._name_and_config()}: {error}") from error
        except Exception as error:
            # Safetensors tells it in words alone.
            full = os.strerror(errno.ENOSPC) in str(error)
            advice = f"; make room for {self._checkpoint_dir} and train again" if full else ""
            if "out of memory" in str(error):
                advice = f"; {_LESS_MEMORY}"
            message = f"{self._name_and_config()}: {type(error).__name__}: {error}{advice}"
            raise TrainingError(message) from error

    def _name_and_config(self) -> str:
        config = self._context.experiment.pipeline.training
        return f"{NAME} ({(config.config_path if config else self._context.experiment.config_path).name})"

    def _train(self) -> TrainingReport:
        import torch

        from thinker.training.hf_peft.arguments import tracker_callbacks, training_arguments
        from thinker.training.hf_peft.loss import Collator
        from thinker.training.hf_peft.step_log import StepLog
        from thinker.training.hf_peft.trainer import PlanTrainer, require_finite

        recipe, context = self._recipe, self._context
        device = resolve_device(recipe.model.device)
        if device.index:  # the Trainer drives the first device that it sees
            raise PreconditionError(
                f"model.device is '{device}': to train on that device, set CUDA_VISIBLE_DEVICES={device.index} in the "
                "environment and model.device to 'cuda'"
            )
        precision = precision_on(device, recipe)
        for announcement in precision.announcements:
            log.warning(announcement)
        trackers = tracker_callbacks(recipe.output.report_to)
        arguments = training_arguments(
            recipe, context.plan, output_dir=self._steps_dir(), device=device, precision=precision,
            evaluates=bool(context.held_out_rows),
        )  # fmt: skip
        # Before the adapter is created: its first weights are random.
        prepare(recipe.data.seed, strict=recipe.training.determinism == "strict")
        model = self._model(device, precision)
        pad_id = context.tokenizer.pad_token_id
        collator = Collator(
            pad_id if pad_id is not None else context.tokenizer.eos_token_id,
            torch.float32 if device.type == "mps" else torch.float64,
        )
        started = time.monotonic()
        with track("train", len(context.plan), "steps") as bar:
            step_log = StepLog(context.run_dir / "steps.jsonl", bar, context.plan)
            trainer = PlanTrainer(
                model, arguments, rows=context.rows, train_rows=context.train_rows,
                held_out_rows=context.held_out_rows, plan=context.plan, collator=collator,
                callbacks=[*trackers, *self._callbacks, step_log],
            )  # fmt: skip
            step_log.trainer = trainer
            trainer.train()
        seconds = time.monotonic() - started
        metrics = self._metrics(step_log.losses, seconds)
        if context.held_out_rows:
            metrics["eval_loss"] = trainer.held_out_loss()
        step_log.trainer = None  # the two hold each other, and with them the model
        require_finite(model)
        adapter_sha256 = save_adapter(model, context.tokenizer, self._checkpoint_dir, context.provenance)
        return TrainingReport(
            checkpoint_dir=self._checkpoint_dir,
            metrics=metrics,
            backend=NAME,
            adapter_sha256=adapter_sha256,
            steps=len(step_log.losses),
            settings=self._settings(device, precision, model),
            step_log=step_log.path,
        )

    def _steps_dir(self) -> Path:
        """Intermediate checkpoints of one training fingerprint lie apart from those of any other."""
        return self._checkpoint_dir / "steps" / self._context.training_fingerprint[:16]

    def _model(self, device: Any, precision: Precision) -> Any:
        """The base model with a fresh adapter."""
        from thinker.training.hf_peft.model import with_adapter

        recipe = self._recipe
        model = load_base_model(
            ModelSource.of(self._context.experiment, self._context.cache_dir),
            device=device, dtype=precision.storage, quantization=recipe.model.quantization,
            device_map=recipe.model.device_map,
        )  # fmt: skip
        return with_adapter(model, recipe, self._base_model)

    def _metrics(self, losses: list[float], seconds: float) -> dict[str, float]:
        """Loss over the steps, by quarters too, and speed in tokens through the model."""
        quarter = max(1, len(losses) // 4)
        rows = [self._context.train_rows[row] for step in self._context.plan for row in step.rows]
        tokens = sum(self._context.rows.lengths[row] for row in rows)
        return {
            "loss": statistics.fmean(losses),
            "first_quarter_loss": statistics.fmean(losses[:quarter]),
            "last_quarter_loss": statistics.fmean(losses[-quarter:]),
            "train_seconds": seconds,
            "tokens_per_second": tokens / seconds,
        }

    def _settings(self, device: Any, precision: Precision, model: Any) -> dict[str, Any]:
        trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        return {
            "device": describe(device),
            "compute_precision": precision.compute,
            "weights_precision": precision.storage,
            "quantization": self._recipe.model.quantization or "none",
            "determinism": self._recipe.training.determinism,
            "threads": thread_count(),
            "trainable_parameters": trainable,
            "announcements": list(precision.announcements),
        }
