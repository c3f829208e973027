"""A `transformers.Trainer` whose checkpoints are whole, and which goes on from one to the same bits."""

from __future__ import annotations

import errno
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import ExportableState

from thinker.training.hf_peft.checkpoints import Checkpoint, CheckpointStore, Progress
from thinker.training.interrupts import Interrupts

_NO_ROOM_BYTES = 1 << 16


class CheckpointPart(Protocol):
    """What goes with each checkpoint, beside all that the Trainer itself knows."""

    def save(self, folder: Path) -> None: ...

    def load(self, folder: Path) -> None: ...


@dataclass(frozen=True)
class Resuming:
    """What ties a training to the one before it, and to the one after.

    Attributes:
        store: where checkpoints go.
        checkpoint: the one that training goes on from; None to begin at step 0.
        interrupts: whether someone asked for an end.
        parts: what goes with each checkpoint.
    """

    store: CheckpointStore
    checkpoint: Checkpoint | None
    interrupts: Interrupts
    parts: tuple[CheckpointPart, ...] = ()


class ResumableTrainer(Trainer):
    """Writes checkpoints through a store, restores what the Trainer alone would not, and ends where it is asked to.

    Args:
        resuming: where checkpoints go, and the one to go on from.
        steps_per_epoch: optimizer steps in a whole pass.
        arguments: of the Trainer.
    """

    control: Any

    def __init__(self, resuming: Resuming, steps_per_epoch: int, **arguments: Any) -> None:
        self._store, self._parts = resuming.store, resuming.parts
        self._resumed, self._interrupts = resuming.checkpoint, resuming.interrupts
        self._steps_per_epoch = steps_per_epoch
        self._writing = False
        self._saved_step = self._seen_step = self._resumed.manifest.step if self._resumed else 0
        self._save_is_due = self._is_interrupted = False
        self._begun = time.monotonic()
        super().__init__(**arguments)

    @property
    def seconds(self) -> float:
        """Time of all steps, those before an interruption among them."""
        before = self._resumed.manifest.seconds if self._resumed else 0.0
        return before + time.monotonic() - self._begun

    @property
    def has_ended(self) -> bool:
        """Whether the checkpoint resumed from has no step after it."""
        return self._resumed is not None and self._resumed.manifest.ended

    def train_on(self) -> None:
        """Train from the resumed checkpoint, or from step 0, to the end.

        Raises:
            KeyboardInterrupt: someone asked for an end; a checkpoint was written.
        """
        if self._resumed is not None:
            for part in self._parts:
                part.load(self._resumed.path)
        self._begun = time.monotonic()
        self.train(resume_from_checkpoint=str(self._resumed.path) if self._resumed else None)
        if self._interrupts.requested:
            raise KeyboardInterrupt("interrupted after the last step; only the adapter is left to save")

    def _init_training_state(
        self, max_steps: Any, num_update_steps_per_epoch: Any, num_train_epochs: Any, resume_from_checkpoint: Any,
        trial: Any,
    ) -> tuple[int, int]:  # fmt: skip
        """As the Trainer's, but the intervals of logging, saving and evaluating are those of now."""
        place: tuple[int, int] = super()._init_training_state(
            max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial
        )
        if self._resumed is not None:
            self.state.compute_steps(self.args, max_steps)
        return place

    def _load_callback_state(self) -> None:
        """Give each callback its state back in place; the Trainer would make new ones, in another order."""
        for name, states in self.state.stateful_callbacks.items():
            callbacks = [each for each in self.callback_handler.callbacks if type(each).__name__ == name]
            for callback, state in zip(callbacks, states if isinstance(states, list) else [states], strict=False):
                if isinstance(callback, ExportableState):
                    for attribute, value in state["attributes"].items():
                        setattr(callback, attribute, value)

    def _maybe_log_save_evaluate(self, tr_loss: Any, grad_norm: Any, model: Any, trial: Any, *rest: Any,
                                 **further: Any) -> None:  # fmt: skip
        """As the Trainer's, called after each step and once more where an epoch ends.

        What is saved after an epoch's last step waits for the second call: its evaluation belongs into the checkpoint,
        since a training that goes on from there begins with the next epoch.
        """
        step = self.state.global_step
        if self._resumed is not None and step == self._resumed.manifest.step:
            self.control.should_training_stop = self.has_ended  # the checkpoint was written after all this
            return
        ends_epoch, self._seen_step = step == self._seen_step, step
        if not ends_epoch:
            self._save_is_due = False
            self._is_interrupted = self._any_process(self._interrupts.requested)
        self.control.should_save |= self._save_is_due or self._is_interrupted
        stops = self.control.should_training_stop or self.control.should_epoch_stop
        if not ends_epoch and (stops or step % self._steps_per_epoch == 0):
            self._save_is_due, self.control.should_save = self.control.should_save, False
            super()._maybe_log_save_evaluate(tr_loss, grad_norm, model, trial, *rest, **further)
            return
        super()._maybe_log_save_evaluate(tr_loss, grad_norm, model, trial, *rest, **further)
        if self._is_interrupted:
            if self._saved_step != step:  # with `save_strategy: best` the Trainer decides
                self._save_checkpoint(model, trial)
            raise KeyboardInterrupt(
                f"interrupted after step {step} of {self.state.max_steps}, which a checkpoint holds"
            )

    def _any_process(self, here: bool) -> bool:
        if self.args.world_size == 1:
            return here
        flag = torch.tensor(float(here), device=self.args.device)
        return bool(self.accelerator.reduce(flag, reduction="sum") > 0)

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._store.staging) if self._writing else super()._get_output_dir(trial)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """An intermediate checkpoint, whole or not at all: each process writes its part, the first publishes it."""
        step, is_main = self.state.global_step, self.args.process_index == 0
        try:
            if is_main:
                self._store.clear()
            self.accelerator.wait_for_everyone()
            self._writing = True
            super()._save_checkpoint(model, trial)
            self._writing = False
            self.accelerator.wait_for_everyone()
            if is_main:
                self._publish(step)
            self.accelerator.wait_for_everyone()
        except BaseException as error:
            full = shutil.disk_usage(self._store.folder).free < _NO_ROOM_BYTES
            self._store.clear()
            if full:  # torch's own message does not say so
                place = self._store.folder / f"checkpoint-{step}"
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place)) from error
            raise
        finally:
            self._writing = False
        self._saved_step = step

    def _publish(self, step: int) -> None:
        staged = self._store.staging / f"checkpoint-{step}"
        for part in self._parts:
            part.save(staged)
        self.state.best_model_checkpoint = None  # it lies in `staging`, and no one asks for it
        self.state.save_to_json(str(staged / TRAINER_STATE_NAME))
        self._store.publish(Progress(step, ended=self.control.should_training_stop, seconds=self.seconds))

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """The adapter alone: what else the Trainer would leave here no one reads again."""
        if self.args.should_save:
            model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
            # Asking whether embeddings were resized would ask the hub; they never are here.
            model.save_pretrained(output_dir, state_dict=state_dict, save_embedding_layers=False)
