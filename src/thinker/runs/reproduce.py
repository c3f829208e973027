"""`thinker reproduce`: do again, in a temporary folder, what a record says was done, and compare bit by bit."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from thinker.config import Experiment
from thinker.errors import EXIT_OK, EXIT_UNEXPECTED, ConfigError, PreconditionError
from thinker.files import cache_dir
from thinker.pipeline import ThinkerPipeline
from thinker.processes import World
from thinker.runs.differences import Difference
from thinker.runs.models import RunRecord
from thinker.runs.origin import RecordedRun
from thinker.runs.outcome import evaluation_differences, plan_difference, training_differences
from thinker.runs.recorded_inputs import compare_inputs, missing_inputs
from thinker.runs.recorded_machine import wanted_threads
from thinker.runs.recorded_settings import Stages
from thinker.runs.recorder import RunRecorder
from thinker.runs.reproduce_gate import gate_differences
from thinker.training.hf_peft.artifacts import ADAPTER_WEIGHTS

# Unpacked models take minutes to make and say by their names what they were made from; encoded rows are made again.
_SHARED_CACHES: Final = ("models", "tokenizers")


@dataclass(frozen=True)
class Reproduction:
    """How a replay compares with its record.

    Attributes:
        run_id: the run.
        status: `match` where everything replayed is as recorded, bit by bit.
        inputs: inputs that are not as recorded.
        results: the first of each kind of result that is not as recorded.
        notes: what else is worth knowing, such as what could not be compared.
        replayed: whether there was a replay; without, inputs differ.
        record: the replay's own; None where nothing was trained or evaluated.
    """

    run_id: str
    status: Literal["match", "differs"]
    inputs: tuple[Difference, ...]
    results: tuple[Difference, ...]
    notes: tuple[str, ...]
    replayed: bool
    record: RunRecord | None = None

    @property
    def differences(self) -> tuple[Difference, ...]:
        """All differences, inputs first."""
        return self.inputs + self.results


def reproduce(run: RecordedRun, *, anyway: bool = False) -> Reproduction:
    """Replay `run`; nothing of the project, of the run or of its adapter is written to.

    Args:
        run: the record.
        anyway: replay also where inputs are not as recorded.

    Raises:
        PreconditionError: the run did not succeed, or what it takes to replay it is missing.
        ThinkerError: as the stage that is replayed.
    """
    record = run.record
    if World.of_environment().size > 1:
        raise PreconditionError("a run is reproduced by one process: start it without torchrun and accelerate launch")
    if record.status != "success":
        ended = f" ({record.error.stage}: {record.error.message})" if record.error else ""
        raise PreconditionError(
            f"run {record.run_id} has status '{record.status}'{ended}: only a run that succeeded can be reproduced"
        )
    with contextlib.chdir(run.folder), tempfile.TemporaryDirectory(prefix="thinker-reproduce-") as name:
        folder = Path(name).resolve()
        with _apart(folder, run.place(record.config), wanted_threads(record)):
            stages = Stages.of(record)
            try:
                experiment = run.load_experiment(_command(record, stages))
            except ConfigError:
                if missing := missing_inputs(run):
                    return Reproduction(record.run_id, "differs", tuple(missing), (), (), replayed=False)
                raise
            if not stages.plans and not stages.evaluates:
                return _gate(run, experiment, anyway=anyway)
            with _recording(folder, record, experiment) as recorder:
                here = _redirected(experiment, folder, record, stages)
                return _Replay(run, experiment, ThinkerPipeline(here, recorder), stages).compare(anyway=anyway)


class _Replay:
    """One run done again.

    Args:
        run: the record.
        experiment: as its files are now.
        pipeline: of the same experiment, with all places of output in the temporary folder.
        stages: what is replayed.
    """

    def __init__(self, run: RecordedRun, experiment: Experiment, pipeline: ThinkerPipeline, stages: Stages) -> None:
        self._run, self._experiment, self._pipeline, self._stages = run, experiment, pipeline, stages
        self._notes: list[str] = []
        if run.record.training and run.record.training.resumed_from:
            self._notes.append("the run was resumed from a checkpoint; it is replayed from its first step")

    def compare(self, *, anyway: bool) -> Reproduction:
        """Inputs first; where they are as recorded, or `anyway`, the results."""
        dataset_sha256 = self._experiment.dataset.sha256()
        training_inputs = None
        if self._stages.plans:
            self._pipeline.begin_replay("train", dataset_sha256)
            training_inputs = self._pipeline.training_inputs()
        inputs = compare_inputs(self._run, self._experiment, self._stages, training_inputs)
        self._notes += inputs.notes
        run_id = self._run.record.run_id
        if inputs.differences and not anyway:
            return Reproduction(run_id, "differs", inputs.differences, (), tuple(self._notes), replayed=False)
        results = self._train() if self._stages.plans else []
        if results:
            if self._stages.evaluates:
                self._notes.append("evaluation was not replayed, since training went another way")
        elif self._stages.evaluates:
            results = self._evaluate(dataset_sha256)
        status: Literal["match", "differs"] = "differs" if results else "match"
        replayed = self._pipeline.recorder.record
        return Reproduction(
            run_id, status, inputs.differences, tuple(results), tuple(self._notes), replayed=True, record=replayed
        )

    def _train(self) -> list[Difference]:
        recorder, recorded = self._pipeline.recorder, self._run.record
        assert recorded.plan is not None, "what was trained was planned"
        if not self._stages.trains:  # a dry run
            difference = plan_difference(recorded.plan, self._pipeline.plan())
            return [difference] if difference else []
        report = self._pipeline.train()
        assert recorder.record.plan is not None, "training begins with its plan"
        planned = plan_difference(recorded.plan, recorder.record.plan)
        found, notes = training_differences(self._run, recorder.record, report.checkpoint_dir / ADAPTER_WEIGHTS)
        self._notes += notes
        return [*([planned] if planned else []), *found]

    def _evaluate(self, dataset_sha256: str) -> list[Difference]:
        self._pipeline.begin_replay("eval", dataset_sha256)
        self._pipeline.evaluate()
        found, notes = evaluation_differences(self._run, self._pipeline.recorder.record)
        self._notes += notes
        return found


def _gate(run: RecordedRun, experiment: Experiment, *, anyway: bool) -> Reproduction:
    inputs, results, notes = gate_differences(run, experiment, anyway=anyway)
    replayed = anyway or not inputs
    status: Literal["match", "differs"] = "match" if replayed and not results else "differs"
    return Reproduction(run.record.run_id, status, tuple(inputs), tuple(results), tuple(notes), replayed=replayed)


def _command(record: RunRecord, stages: Stages) -> Literal["validate", "train", "eval", "run"]:
    """The command that needs all that is replayed, and no more: a dry run needs nothing to evaluate."""
    if stages.evaluates:
        return "run" if stages.trains else "eval"
    return "train" if stages.plans else "validate"


def _redirected(experiment: Experiment, folder: Path, record: RunRecord, stages: Stages) -> Experiment:
    """`experiment` with its places of output in `folder`, without trackers, and with the recorded batch size."""
    recipe, evaluation, pipeline = experiment.recipe, experiment.pipeline.evaluation, experiment.pipeline
    adapter = folder / "adapter" if stages.plans else experiment.checkpoint_dir
    if recipe is not None:
        recipe = replace(recipe, output=replace(recipe.output, checkpoint_dir=adapter, report_to="none"))
    if evaluation is not None:
        # Where none is configured, free memory decides, and with it the padding of each batch.
        batch_size = evaluation.batch_size or (record.evaluation.batch_size if record.evaluation else None)
        checkpoint_dir = None if experiment.evaluate_base_only else adapter
        evaluation = replace(evaluation, checkpoint_dir=checkpoint_dir, output_path=None, batch_size=batch_size)
    pipeline = replace(pipeline, evaluation=evaluation, runs_dir=folder / "runs")
    return replace(experiment, pipeline=pipeline, recipe=recipe, checkpoint_dir=adapter)


@contextlib.contextmanager
def _recording(folder: Path, record: RunRecord, experiment: Experiment) -> Iterator[RunRecorder]:
    """A record of the replay, in the temporary folder."""
    recorder = RunRecorder.start(
        folder / "runs", command=record.command, argv=record.argv, config_path=experiment.config_path,
        overrides=record.overrides,
    )  # fmt: skip
    try:
        yield recorder
    except BaseException as error:
        recorder.finish("failed", EXIT_UNEXPECTED, error)
        raise
    recorder.finish("success", EXIT_OK)


@contextlib.contextmanager
def _apart(folder: Path, config_path: Path, threads: int | None) -> Iterator[None]:
    """Nothing is written outside `folder`: neither caches nor compiled plugins. Computes with `threads` threads."""
    cache = folder / "cache"
    for kind in _SHARED_CACHES:
        (cache / kind).mkdir(parents=True)
        shared = cache_dir(config_path).absolute() / kind
        for entry in shared.iterdir() if shared.is_dir() else ():
            if not entry.name.startswith("."):  # being written
                (cache / kind / entry.name).symlink_to(entry, target_is_directory=True)
    changed = {"THINKER_CACHE_DIR": str(cache), **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
    before = {name: os.environ.get(name) for name in changed}
    writes_no_bytecode = sys.dont_write_bytecode
    os.environ.update(changed)
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = writes_no_bytecode
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
