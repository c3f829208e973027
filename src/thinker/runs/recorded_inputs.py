"""What a recorded run was given, held against what the same command would be given now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from thinker import plugins
from thinker.config import Experiment
from thinker.config.fingerprint import config_fingerprint, training_fingerprint
from thinker.config.identity import model_identity
from thinker.config.model_names import is_local
from thinker.data.dataset_files import combined_sha256
from thinker.evaluation.evaluator import generator_name
from thinker.hashing import sha256_file
from thinker.runs.differences import Difference, Fact, differing, differing_keys, each_once, flattened
from thinker.runs.files import spell_path
from thinker.runs.models import InputFile, RunRecord
from thinker.runs.origin import RecordedRun
from thinker.runs.recorded_machine import covered, hardware_differences, version_differences
from thinker.runs.recorded_settings import Stages, setting_differences
from thinker.tasks.base import evaluation_inputs
from thinker.training.hf_peft.artifacts import ADAPTER_WEIGHTS
from thinker.validation.plugin_code import plugin_files

_PLUGIN_ROLES: Final = ("task", "backend", "generator")


@dataclass(frozen=True)
class Inputs:
    """How the inputs of now compare with those on record.

    Attributes:
        differences: inputs that decide the result and are not as recorded.
        notes: what else is not as recorded, and what could not be compared.
    """

    differences: tuple[Difference, ...]
    notes: tuple[str, ...]


def compare_inputs(
    run: RecordedRun, experiment: Experiment, stages: Stages, training_inputs: Mapping[str, Any] | None
) -> Inputs:
    """Everything that decides what training and evaluation make, in the order in which it is used.

    The current folder must be the run's, and the threads those on record.

    Args:
        run: the record.
        experiment: the same experiment as its files are now.
        stages: what will be replayed.
        training_inputs: what the training digest covers now; None where nothing is trained.

    Raises:
        OSError: an input cannot be read.
    """
    settings, notes = setting_differences(run, experiment, stages, training_inputs)
    found = [
        *dataset_differences(run.record, experiment),
        *settings,
        *_base_model(run.record, experiment),
        *(_evaluated(run.record, experiment, stages) if stages.evaluates else ()),
        *version_differences(run.record),
        *hardware_differences(run.record, experiment, training_inputs),
        *_plugin_files(run.record, experiment, stages),
    ]
    found = each_once([*found, *_unexplained(run.record, training_inputs, found)])
    if not found and not notes and (config := run.record.digests.config):
        now = config_fingerprint(experiment)
        if now != config:
            notes.append(
                "the config digest is another one, though nothing that decides the result changed: it also covers the "
                "test suite and the schema of the rows (`thinker validate --explain` names them)"
            )
    return Inputs(tuple(found), tuple(notes))


def missing_inputs(run: RecordedRun) -> list[Difference]:
    """The files among the recorded inputs that are not there any more."""
    found = []
    for file in run.record.inputs:
        if not run.place(file.path).is_file():
            kind: Any = "dataset" if file.role == "dataset" else "file"
            found.append(Difference(kind, f"{file.role} {file.path}", file.sha256, None))
    model = run.base_model()
    if model and is_local(model) and not Path(model).exists():
        found.append(Difference("base_model", f"base model {Path(model).as_posix()}", "a model", None))
    return found


def dataset_differences(record: RunRecord, experiment: Experiment) -> list[Difference]:
    """The dataset's files whose bytes are not those on record, wherever they lie now."""
    here = [(spell_path(path), sha256_file(path)) for path in experiment.dataset.paths]
    listed: list[Sequence[Any]] = [[file for file in record.inputs if file.role == "dataset"]]
    dataset = record.validation.dataset if record.validation else None
    listed.append(dataset.files if dataset else [])
    found = []
    for files in filter(None, listed):
        if len(files) != len(here):
            found.append(Difference("dataset", "number of dataset files", len(files), len(here)))
            continue
        for file, (path, sha256) in zip(files, here, strict=True):
            moved = "" if file.path == path else f"recorded as {file.path}"
            if file.sha256 != sha256:
                found.append(Difference("dataset", f"dataset {path}", file.sha256, sha256, moved))
    if not found:
        combined = {"dataset": combined_sha256([sha256 for _, sha256 in here])}
        stated = [dataset.sha256 if dataset else None, (record.training_inputs or {}).get("dataset")]
        found = differing([Fact("dataset", "dataset", each) for each in stated if each], combined)
    return found


def _base_model(record: RunRecord, experiment: Experiment) -> list[Difference]:
    sections = [section.base_model for section in (record.training, record.evaluation) if section]
    if experiment.base_model is None or not any(sections):
        return []
    revision = experiment.recipe.model.revision if experiment.recipe else None
    here = flattened(model_identity(experiment.base_model, revision))
    found = [
        Difference("base_model", f"base model {each.name.removeprefix('files.')}", each.recorded, each.here)
        for section in sections
        if section
        for each in differing_keys("base_model", flattened(section.identity), here)
    ]
    return each_once(found)


def _evaluated(record: RunRecord, experiment: Experiment, stages: Stages) -> Iterator[Difference]:
    """The records to evaluate, and the adapter, where it is not made anew."""
    config = experiment.pipeline.evaluation
    paths = evaluation_inputs(config) if config else {}
    recorded = {file.role: file for file in record.inputs if file.role in ("claims_file", "corpus_file", "data_file")}
    for role in sorted({*paths, *recorded}):
        path, file = paths.get(role), recorded.get(role)
        now = sha256_file(path) if path and path.is_file() else None
        if now != (file.sha256 if file else None):
            name = spell_path(path) if path else file.path if file else ""
            yield Difference("file", f"{role} {name}", file.sha256 if file else None, now)
    adapter = record.evaluation.adapter if record.evaluation else None
    if stages.trains or adapter is None or experiment.checkpoint_dir is None:
        return
    weights = experiment.checkpoint_dir / ADAPTER_WEIGHTS
    now = sha256_file(weights) if weights.is_file() else None
    if adapter.sha256 is not None and now != adapter.sha256:
        yield Difference("adapter", f"adapter {spell_path(weights)}", adapter.sha256, now)


def _plugin_files(record: RunRecord, experiment: Experiment, stages: Stages) -> list[Difference]:
    """Source files of the user's plugins, by role and place."""
    used: dict[str, Any] = {"task": plugins.resolve("tasks", experiment.pipeline.task)()}
    training = experiment.pipeline.training
    if stages.plans and training:
        used["backend"] = plugins.resolve("backends", training.backend)
    if stages.evaluates:
        used["generator"] = plugins.resolve("generators", generator_name(experiment))
    here = {
        f"{role} {spell_path(path)}": sha256_file(path)
        for role, plugin in used.items()
        for path in plugin_files(plugin)
    }
    recorded = {_role_and_path(file): file.sha256 for file in record.inputs if file.role in _PLUGIN_ROLES}
    return differing_keys("source", recorded, here)


def _role_and_path(file: InputFile) -> str:
    return f"{file.role} {file.path}"


def _unexplained(
    record: RunRecord, training_inputs: Mapping[str, Any] | None, found: Sequence[Difference]
) -> list[Difference]:
    """What only hashes of hashes show: said where nothing that was named explains it."""
    if training_inputs is None:
        return []
    stated, kinds, more = record.training_inputs or {}, {each.kind for each in found}, list[Difference]()
    if "base_model" not in kinds and "base_model" in stated and stated["base_model"] != training_inputs["base_model"]:
        more.append(Difference("base_model", "base model", stated["base_model"], training_inputs["base_model"]))
    sources = covered(record, "plugins")
    if "source" not in kinds and sources:
        changed = differing_keys("source", sources, training_inputs["plugins"])
        more += [Difference("source", f"code of the {each.name}", each.recorded, each.here) for each in changed]
    now = training_fingerprint(training_inputs)
    if not found and not more and record.digests.training not in (None, now):
        more.append(Difference("digest", "training digest", record.digests.training, now))
    return more
