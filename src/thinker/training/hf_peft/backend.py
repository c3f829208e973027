"""Setup, train, save: the local backend from top to bottom."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinker.config.optimizers import optimizer_on
from thinker.errors import ConfigError, PreconditionError, ThinkerError, TrainingError
from thinker.modeling.determinism import prepare, thread_count
from thinker.modeling.devices import Precision, describe, precision_on, resolve_device
from thinker.modeling.load import ModelSource, load_base_model
from thinker.progress import track
from thinker.runs.lock import checkpoint_lock
from thinker.training.base import TrainingContext, TrainingReport
from thinker.training.hf_peft.artifacts import save_adapter
from thinker.training.hf_peft.checkpoints import Checkpoint, CheckpointStore
from thinker.training.interrupts import kept_back
from thinker.training.step_rows import StepRows

if TYPE_CHECKING:
    import torch
    from transformers import TrainingArguments

    from thinker.training.hf_peft.engine import Engine
    from thinker.training.hf_peft.resumable import Resuming
    from thinker.training.hf_peft.trainer import PlanTrainer

log = logging.getLogger("thinker")
NAME = "hf_peft"
_INTERRUPTED = (
    "interrupted: training ends after this optimizer step and saves a checkpoint; interrupt again to end at once"
)
_HANDED_ON_S = 5.0
_LESS_MEMORY = (
    "less memory: training.per_device_batch_size 1 with more gradient_accumulation_steps, "
    "training.gradient_checkpointing: true, model.quantization: 4bit, a smaller training.max_seq_length"
)


@dataclass(frozen=True)
class _Run:
    """What the hardware and the rules made of the recipe.

    Attributes:
        device: of this process.
        precision: of weights and passes.
        optimizer: its name in Transformers, here.
        announcements: what could not be honoured, and what was done instead.
        arguments: of the Trainer.
        trackers: callbacks that report elsewhere.
    """

    device: torch.device
    precision: Precision
    optimizer: str
    announcements: tuple[str, ...]
    arguments: TrainingArguments
    trackers: tuple[Any, ...]


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
        self._store = CheckpointStore(
            checkpoint_dir,
            context.training_fingerprint,
            world_size=context.plan.world_size,
            limit=recipe.output.save_total_limit,
        )

    def train(self) -> TrainingReport:
        """Follow the plan, under the checkpoint folder's lock.

        Raises:
            PreconditionError: no such model or device, packages missing, or the folder is in use.
            TrainingError: whatever else stops training; names backend and configuration.
        """
        try:
            # Process 0 holds it for all of them.
            lock = checkpoint_lock(self._checkpoint_dir) if self._context.world.is_main else contextlib.nullcontext()
            with lock:
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
        from thinker.training.hf_peft import distributed
        from thinker.training.hf_peft.callbacks import EvaluationWatch
        from thinker.training.hf_peft.performance import PhaseClock, performance
        from thinker.training.hf_peft.plain_lora import taken_from_base
        from thinker.training.hf_peft.resumable import Resuming
        from thinker.training.hf_peft.skeleton import dimensions_of
        from thinker.training.hf_peft.step_log import StepLog
        from thinker.training.hf_peft.trainer import require_finite

        recipe, context, world = self._recipe, self._context, self._context.world
        run = self._settle()
        resumed = self._resumed(world.is_main)
        # Before the adapter is created: its first weights are random.
        prepare(recipe.data.seed, strict=recipe.training.determinism == "strict")
        clock = PhaseClock(run.device)
        with clock.phase("load"):
            model = self._model(run)
            first_weights = taken_from_base(model)
        step_rows = StepRows(context, dimensions_of(model))
        engine = self._engine(run, model)
        done = resumed.manifest.step if resumed else 0
        once_within_s = _HANDED_ON_S if world.size > 1 else 0.0
        with (
            track("train", len(context.plan), "steps", done=done) as bar,
            kept_back(_INTERRUPTED, once_within_s=once_within_s) as interrupts,
        ):
            step_log = StepLog(context.run_dir, bar, context.plan, step_rows, clock, writes=world.is_main)
            watch = EvaluationWatch(model, recipe.training)
            resuming = Resuming(self._store, resumed, interrupts, (step_log, watch))
            trainer = self._trainer(
                run, model, engine, resuming, [clock, *run.trackers, *self._callbacks, step_log, watch]
            )
            step_log.trainer = trainer
            distributed.draw_apart(recipe.data.seed, world)
            trainer.train_on()
        metrics = self._metrics(step_log.losses, trainer.seconds)
        trainer.average_weights()
        if context.held_out_rows:
            metrics["eval_loss"] = watch.final_loss(trainer)
        trained = distributed.trained_weights(trainer)
        step_log.trainer = None  # the two hold each other, and with them the model
        require_finite(trained)
        with clock.phase("saving"):
            adapter_sha256 = self._save(model, trained, first_weights)
        return TrainingReport(
            checkpoint_dir=self._checkpoint_dir,
            metrics=metrics,
            backend=NAME,
            adapter_sha256=adapter_sha256,
            steps=len(step_log.losses),
            settings=self._settings(run, model, engine),
            step_log=step_log.path,
            stopped_early=watch.stopped,
            best_step=watch.best_step,
            best_saved=watch.keeps,
            performance=performance(
                clock, step_rows, range(done, len(step_log.losses)), device=run.device, precision=run.precision
            ),
            resumed_from=resumed.path if resumed else None,
        )

    def _settle(self) -> _Run:
        """Refuse what cannot be done here, before anything expensive, and say what was asked for in vain."""
        from thinker.training.hf_peft import distributed
        from thinker.training.hf_peft.arguments import tracker_callbacks, training_arguments

        recipe, context, world = self._recipe, self._context, self._context.world
        device = distributed.device_of(world, resolve_device(recipe.model.device))
        distributed.require_exact(recipe, world, device)
        precision = precision_on(device, recipe)
        optimizer, of_optimizer = optimizer_on(device.type, recipe.training.optim)
        announcements = (*precision.announcements, *of_optimizer)
        for announcement in announcements:
            log.warning(announcement)
        trackers = tracker_callbacks(recipe.output.report_to)
        arguments = training_arguments(
            recipe, context.plan, output_dir=self._store.folder, device=device, precision=precision,
            evaluates=bool(context.held_out_rows),
        )  # fmt: skip
        distributed.settle(arguments, precision, world)
        return _Run(device, precision, optimizer, announcements, arguments, tuple(trackers))

    def _engine(self, run: _Run, model: Any) -> Engine:
        import torch

        from thinker.training.hf_peft import distributed
        from thinker.training.hf_peft.engine import PROOF_ROWS, prepare_engine

        rows, tokenizer = self._context.rows, self._context.tokenizer
        return prepare_engine(
            model, [rows[row] for row in self._context.train_rows[:PROOF_ROWS]],
            pad_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
            device=run.device, compute=getattr(torch, run.precision.compute), longest=max(rows.lengths),
            sharded=distributed.sharding() is not None,
        )  # fmt: skip

    def _trainer(
        self, run: _Run, model: Any, engine: Engine, resuming: Resuming, callbacks: Sequence[Any]
    ) -> PlanTrainer:
        from thinker.training.hf_peft.neftune import add_noise
        from thinker.training.hf_peft.trainer import PlanTrainer

        context, alpha = self._context, self._recipe.training.neftune_noise_alpha
        trainer = PlanTrainer(
            model, run.arguments, rows=context.rows, train_rows=context.train_rows,
            held_out_rows=context.held_out_rows, plan=context.plan, layout=engine.layout, callbacks=list(callbacks),
            resuming=resuming,
        )  # fmt: skip
        if alpha is not None:
            add_noise(model, alpha)
        return trainer

    def _save(self, model: Any, trained: Mapping[str, Any], first_weights: Any) -> str:
        """The adapter, by process 0; the others leave. Returns its SHA-256, or nothing in those."""
        from thinker.training.hf_peft import distributed

        adapter_sha256 = ""
        if self._context.world.is_main:
            adapter_sha256 = save_adapter(
                model, self._context.tokenizer, self._checkpoint_dir, self._context.provenance,
                taken_from_base=first_weights, state=trained if distributed.sharding() else None,
            )  # fmt: skip
            self._store.finish()
        if self._context.world.size > 1:
            distributed.leave()
        return adapter_sha256

    def _resumed(self, is_main: bool) -> Checkpoint | None:
        """The checkpoint that training goes on from; the first process chooses it for all."""
        from accelerate.utils import broadcast_object_list

        from thinker.training.hf_peft.distributed import require_readable

        chosen: list[Checkpoint | None] = [self._store.begin(fresh=self._context.fresh) if is_main else None]
        broadcast_object_list(chosen)
        resumed = chosen[0]
        if resumed is not None:
            require_readable(resumed.path)
            log.info("going on after step %d of %d: %s", resumed.manifest.step, len(self._context.plan), resumed.path)
        return resumed

    def _model(self, run: _Run) -> Any:
        """The base model with a fresh adapter."""
        from thinker.training.hf_peft import distributed
        from thinker.training.hf_peft.model import with_adapter

        recipe = self._recipe
        device, device_map = distributed.placement(recipe, self._context.world, run.device)
        model = load_base_model(
            ModelSource.of(self._context.experiment, self._context.cache_dir),
            device=device, dtype=run.precision.storage, quantization=recipe.model.quantization, device_map=device_map,
        )  # fmt: skip
        return with_adapter(model, recipe, self._base_model)

    def _metrics(self, losses: list[float], seconds: float) -> dict[str, float]:
        """Loss over the steps, by quarters too, and speed in tokens through the model."""
        quarter = max(1, len(losses) // 4)
        steps = islice(self._context.plan, len(losses))
        rows = [self._context.train_rows[row] for step in steps for row in step.rows]
        tokens = sum(self._context.rows.lengths[row] for row in rows)
        return {
            "loss": statistics.fmean(losses),
            "first_quarter_loss": statistics.fmean(losses[:quarter]),
            "last_quarter_loss": statistics.fmean(losses[-quarter:]),
            "train_seconds": seconds,
            "tokens_per_second": tokens / seconds,
        }

    def _settings(self, run: _Run, model: Any, engine: Engine) -> dict[str, Any]:
        trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        return {
            "device": describe(run.device),
            "processes": self._context.world.size,
            "compute_precision": run.precision.compute,
            "weights_precision": run.precision.storage,
            "quantization": self._recipe.model.quantization or "none",
            "determinism": self._recipe.training.determinism,
            "threads": thread_count(),
            "trainable_parameters": trainable,
            "rows": engine.layout.name,
            "replaced_parts": engine.parts,
            "not_packed_because": engine.reason,
            "optimizer": run.optimizer,
            "announcements": list(run.announcements),
        }
