"""The keys of both configuration files as a recorded run had them, held against the keys of now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from thinker.config import Experiment
from thinker.config.resolved import resolved_config
from thinker.evaluation.evaluator import generator_name
from thinker.hashing import sha256_file
from thinker.runs.differences import Difference, Fact, differing, differing_keys, each_once, flattened
from thinker.runs.models import RunRecord
from thinker.runs.origin import RESOLVED, RecordedRun

# Compared by content, or a place of output.
_PLACES: Final = frozenset({
    "model.name", "model.revision", "model.hf_token", "data.train_file", "output.checkpoint_dir",
    "pipeline.data_validation.path", "pipeline.tests.path", "pipeline.tests.inputs", "pipeline.training.config_path",
    "pipeline.evaluation.base_model", "pipeline.evaluation.checkpoint_dir", "pipeline.evaluation.claims_file",
    "pipeline.evaluation.corpus_file", "pipeline.evaluation.data_file", "pipeline.evaluation.output_path",
    "pipeline.runs_dir",
})  # fmt: skip
_ALWAYS_COUNTED: Final = ("pipeline.task", "pipeline.data_validation.max_examples")
# What evaluation takes from the LoRA file.
_COUNTED_IN_EVALUATION: Final = (
    "pipeline.evaluation.", "evaluate_base_only", "model.", "training.fp16", "training.bf16", "training.determinism",
    "data.seed", "data.validation_split",
)  # fmt: skip
_NAMES: Final = {"task": "pipeline.task", "backend": "pipeline.training.backend",
                 "max_examples": "pipeline.data_validation.max_examples"}  # fmt: skip


class Stages(NamedTuple):
    """What of a run is replayed."""

    plans: bool
    trains: bool
    evaluates: bool

    @classmethod
    def of(cls, record: RunRecord) -> Stages:
        """What the run did beyond its gate; a dry run planned, and no more."""
        return cls(record.plan is not None, record.training is not None, record.evaluation is not None)


def setting_differences(
    run: RecordedRun, experiment: Experiment, stages: Stages, training_inputs: Mapping[str, Any] | None
) -> tuple[list[Difference], list[str]]:
    """The keys that decide the result and are not as recorded, and notes on the others.

    A key decides it if the training digest covers it, or if evaluation goes by it.

    Args:
        run: the record.
        experiment: the same experiment as its files are now.
        stages: what will be replayed.
        training_inputs: what the training digest covers now; None where nothing is trained.
    """
    keys = _keys(resolved_config(experiment))
    notes: list[str] = []
    found: list[Difference] = []
    resolved = run.resolved_config()
    if resolved is None:
        notes.append(f"which keys of the files changed cannot be said in full: the run's {RESOLVED}.json is gone")
        found += _changed_files(run)
    else:
        artifact, path = run.record.artifacts[RESOLVED], run.artifact(RESOLVED)
        if path is not None and sha256_file(path) != artifact.sha256:
            notes.append(f"{artifact.path} is not what the run wrote")
        found += differing_keys("setting", _keys(resolved), keys)
    covered = _covered(training_inputs)
    here = {**covered, **keys, "generator": generator_name(experiment) if stages.evaluates else None}
    found = each_once([*found, *differing(_stated(run.record), here)])
    deciding = [each for each in found if _decides(each, {*_ALWAYS_COUNTED, *covered}, stages)]
    notes += [f"without effect on the result: {each}" for each in found if each not in deciding]
    return deciding, notes


def _keys(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of both files, spelled as `--set` takes them; those compared elsewhere are left out."""
    keys = {f"pipeline.{key}": value for key, value in flattened(resolved.get("pipeline") or {}).items()}
    keys |= flattened(resolved.get("lora") or {})
    keys["evaluate_base_only"] = resolved.get("evaluate_base_only")
    return {key: value for key, value in keys.items() if key not in _PLACES and not _is_schema_path(key, value)}


def _is_schema_path(key: str, value: Any) -> bool:
    return key == "pipeline.data_validation.schema" and isinstance(value, str)


def _decides(difference: Difference, counted: set[str], stages: Stages) -> bool:
    if difference.kind not in ("setting", "seed"):
        return True
    evaluated = stages.evaluates and difference.name.startswith(_COUNTED_IN_EVALUATION)
    return difference.name in counted or evaluated or difference.name == "generator"


def _stated(record: RunRecord) -> Iterator[Fact]:
    """What the record itself says of settings, in all of its places."""
    for name, value in _covered(record.training_inputs).items():
        yield Fact("setting", name, value)
    for name, key in (("data", "data.seed"), ("evaluation", "pipeline.evaluation.seed")):
        if name in record.seeds:
            yield Fact("seed", key, record.seeds[name])
    if record.training:
        yield Fact("setting", "pipeline.training.backend", record.training.backend)
    if record.evaluation and record.evaluation.sampling:
        for name, value in record.evaluation.sampling.model_dump().items():
            yield Fact("setting", f"pipeline.evaluation.{name}", value)
    if record.evaluation and record.evaluation.backend:
        yield Fact("setting", "generator", record.evaluation.backend)


def _covered(training_inputs: Mapping[str, Any] | None) -> dict[str, Any]:
    """The settings that the training digest covers, spelled as `--set` takes them."""
    inputs = dict(training_inputs or {})
    recipe = inputs.pop("recipe", None)
    found: dict[str, Any] = {
        _NAMES.get(name, name): value for name, value in inputs.items() if isinstance(value, str | int | None)
    }
    for not_a_setting in ("dataset", "base_model"):
        found.pop(not_a_setting, None)
    found |= flattened(recipe) if isinstance(recipe, Mapping) else {}
    if evaluations := found.pop("evaluations", None):  # where the adapter depends on when there are some
        found["output.eval_strategy"], found["output.eval_steps"] = evaluations
    return found


def _changed_files(run: RecordedRun) -> Iterator[Difference]:
    for file in run.record.inputs:
        known_by_key = file.role == "recipe" and run.record.training_inputs is not None
        path = run.place(file.path)
        if file.role in ("pipeline", "recipe") and not known_by_key and path.is_file():
            now = sha256_file(path)
            if now != file.sha256:
                yield Difference("file", f"{file.role} {file.path}", file.sha256, now)
