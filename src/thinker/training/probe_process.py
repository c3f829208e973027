"""The process of a probe: `python -m thinker.training.probe_process FOLDER`, started by `thinker.training.probe`.

It trains as the backend always does, on one micro-batch, with FOLDER for all that training writes.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from thinker import plugins
from thinker.config.experiment import Experiment
from thinker.data.encoded_rows import EncodedRows
from thinker.data.plan import Plan
from thinker.errors import ThinkerError
from thinker.modeling.load import ModelSource, load_tokenizer
from thinker.modeling.memory import PeakMemory, resident_bytes
from thinker.training.base import TrainingContext
from thinker.training.hf_peft import trainer as trainer  # what training imports, before memory is first looked at
from thinker.training.hf_peft.backend import HfPeftBackend
from thinker.training.probe import STEPS, ProbeRequest, ProbeResult, write_answer


def main() -> int:
    """Read the request, train, write the answer."""
    folder = Path(sys.argv[1])
    request: ProbeRequest = pickle.load(sys.stdin.buffer)  # noqa: S301  from the process that started this one
    _be_the_first_to_go()
    try:
        write_answer(folder, _measure(request, folder))
    except ThinkerError as error:
        write_answer(folder, None, str(error))
        return error.exit_code
    return 0


def _measure(request: ProbeRequest, folder: Path) -> ProbeResult:
    clock = _Clock()
    backend = HfPeftBackend(_context(request, folder), callbacks=[clock])
    libraries_bytes = resident_bytes()
    with PeakMemory() as peak:
        backend.train()
    return ProbeResult(
        libraries_bytes=libraries_bytes,
        peak_bytes=peak.resident_bytes,
        device_bytes=peak.device_bytes,
        pass_seconds=clock.pass_seconds[-1],
        optimizer_seconds=clock.optimizer_seconds[-1],
    )


def _context(request: ProbeRequest, folder: Path) -> TrainingContext:
    experiment = _in_folder(request.experiment, folder)
    count = len(request.examples)
    return TrainingContext(
        experiment=experiment,
        task=plugins.resolve("tasks", "prompt_completion")(),  # the rows are encoded, so none has a say any more
        rows=EncodedRows.of(request.examples),
        train_rows=range(count),
        held_out_rows=(),
        plan=Plan(
            row_count=count,
            shuffle=False,
            seed=0,
            epochs=STEPS,
            micro_batch_size=count,
            accumulation=1,
            max_steps=STEPS,
        ),
        run_dir=folder,
        cache_dir=request.cache_dir,
        training_fingerprint="probe",
        provenance={"base_model": {"name": experiment.base_model}},
        tokenizer=load_tokenizer(ModelSource.of(experiment, request.cache_dir)),
    )


def _in_folder(experiment: Experiment, folder: Path) -> Experiment:
    """The experiment with `folder` for its outputs, and no one reported to."""
    recipe = experiment.recipe
    assert recipe is not None  # who trains has one
    output = replace(recipe.output, checkpoint_dir=folder / "adapter", save_strategy="no", report_to="none")
    return replace(experiment, recipe=replace(recipe, output=output), checkpoint_dir=output.checkpoint_dir)


class _Clock(TrainerCallback):
    """Seconds of each step, its passes and its optimizer apart."""

    def __init__(self) -> None:
        self.pass_seconds: list[float] = []
        self.optimizer_seconds: list[float] = []
        self._last = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._lap()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.pass_seconds.append(self._lap())

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.optimizer_seconds.append(self._lap())

    def _lap(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # or only the launching of kernels would be timed
        before, self._last = self._last, time.perf_counter()
        return self._last - before


def _be_the_first_to_go() -> None:
    """Where memory runs out, let Linux end this process and not the one that waits for it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


if __name__ == "__main__":
    sys.exit(main())
