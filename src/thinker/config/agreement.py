"""Where pipeline file and LoRA file speak of one thing: dataset, base model, checkpoint folder.

Absent or null means the other file's value. Two values of different content or place are an error before training and
evaluation: the gate must check what training reads, and evaluation load what training wrote.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from thinker.config.experiment import Experiment
from thinker.config.identity import model_identity
from thinker.config.model_names import is_local
from thinker.config.pipeline_models import PipelineConfig
from thinker.config.problems import KeyPath, Problem, show_key_path
from thinker.config.recipe_models import Recipe
from thinker.config.rules import Command
from thinker.config.source import ConfigSource
from thinker.data.dataset_files import DatasetFiles, combined_sha256
from thinker.hashing import sha256_file

_GATE_DATASET: Final[KeyPath] = ("data_validation", "path")
_TRAIN_DATASET: Final[KeyPath] = ("data", "train_file")
_EVALUATED_MODEL: Final[KeyPath] = ("evaluation", "base_model")
_TRAINED_MODEL: Final[KeyPath] = ("model", "name")
_READ_FROM: Final[KeyPath] = ("evaluation", "checkpoint_dir")
_WRITTEN_TO: Final[KeyPath] = ("output", "checkpoint_dir")


@dataclass(frozen=True)
class Files:
    """Both files, each sound by itself; the LoRA file's half is None without a `training` section."""

    pipeline: PipelineConfig
    pipeline_source: ConfigSource
    recipe: Recipe | None = None
    lora_source: ConfigSource | None = None

    @property
    def gate_dataset(self) -> DatasetFiles | None:
        """What the gate is to check."""
        path = self.pipeline.data_validation.path
        return DatasetFiles.of(path) if path else None

    @property
    def train_dataset(self) -> DatasetFiles | None:
        """What training is to read."""
        path = self.recipe.data.train_file if self.recipe else None
        return DatasetFiles.of(path) if path else None

    @property
    def evaluated_model(self) -> str | None:
        """What evaluation is to load."""
        return self.pipeline.evaluation.base_model if self.pipeline.evaluation else None

    @property
    def read_from(self) -> Path | None:
        """Where evaluation is to find the adapter."""
        return self.pipeline.evaluation.checkpoint_dir if self.pipeline.evaluation else None

    @property
    def written_to(self) -> Path | None:
        """Where training is to leave the adapter."""
        return self.recipe.output.checkpoint_dir if self.recipe else None

    @property
    def adapter_declined(self) -> bool:
        """Whether `evaluation.checkpoint_dir` is an explicit null: evaluate the base model alone."""
        return self.pipeline_source.has(*_READ_FROM) and self.pipeline_source.get(*_READ_FROM) is None


def disagreements(files: Files, command: Command, checkpoint: Path | None) -> Iterator[Problem]:
    """What keeps the two files from describing one experiment that `command` could run on.

    Args:
        files: both files.
        command: what is about to run; `validate` trains and evaluates nothing, and lets the files differ.
        checkpoint: the adapter to evaluate, given on the command line in place of the files'.
    """
    gate, train, recipe, evaluated = files.gate_dataset, files.train_dataset, files.recipe, files.evaluated_model
    if not gate and not train:
        message = "required, but missing: neither this nor data.train_file of the LoRA file names the dataset"
        yield Problem(files.pipeline_source.key_place(_GATE_DATASET), message, _GATE_DATASET)
    if command == "validate":
        return
    if gate and train and gate != train and _content(gate) != _content(train):
        yield _disagreement(files, _GATE_DATASET, _TRAIN_DATASET, "the gate must check what training reads")
    if recipe and evaluated and not _same_model(evaluated, recipe.model.name):
        yield _disagreement(files, _EVALUATED_MODEL, _TRAINED_MODEL, "evaluation must load the model that was trained")
    if command == "eval" and not recipe and not evaluated:
        message = "required, but missing: without a 'training' section nothing else names the model"
        yield Problem(files.pipeline_source.key_place(_EVALUATED_MODEL), message, _EVALUATED_MODEL)
    yield from _checkpoint_problems(files, command, checkpoint)


def experiment(files: Files, overrides: tuple[str, ...], checkpoint: Path | None) -> Experiment:
    """The experiment that both files describe, each completed by the other."""
    pipeline, recipe, evaluation = files.pipeline, files.recipe, files.pipeline.evaluation
    checked, trained = pipeline.data_validation.path, recipe.data.train_file if recipe else None
    dataset = files.gate_dataset or files.train_dataset
    assert dataset is not None, "`disagreements` tells this first"
    base_model = recipe.model.name if recipe else files.evaluated_model
    checkpoint_dir = checkpoint or files.written_to or files.read_from
    base_only = evaluation is not None and not checkpoint and (files.adapter_declined or not checkpoint_dir)
    if evaluation:
        adapter = None if base_only else checkpoint or files.read_from or files.written_to
        evaluation = replace(evaluation, base_model=evaluation.base_model or base_model, checkpoint_dir=adapter)
    if recipe:
        data = replace(recipe.data, train_file=trained or checked)
        output = replace(recipe.output, checkpoint_dir=files.written_to or files.read_from)
        recipe = replace(recipe, data=data, output=output)
    return Experiment(
        config_path=files.pipeline_source.path,
        pipeline=replace(
            pipeline, data_validation=replace(pipeline.data_validation, path=checked or trained), evaluation=evaluation
        ),
        recipe=recipe,
        dataset=dataset,
        base_model=base_model,
        checkpoint_dir=checkpoint_dir,
        evaluate_base_only=base_only,
        overrides=overrides,
    )


def _checkpoint_problems(files: Files, command: Command, checkpoint: Path | None) -> Iterator[Problem]:
    read_from, written_to = files.read_from, files.written_to
    if not files.recipe or not files.lora_source:
        return
    if read_from and written_to and read_from != written_to and not checkpoint:
        yield _disagreement(files, _READ_FROM, _WRITTEN_TO, "evaluation must load what training wrote")
    if command in ("train", "run") and not read_from and not written_to:
        message = "required, but missing: neither this nor evaluation.checkpoint_dir says where the adapter goes"
        yield Problem(files.lora_source.key_place(_WRITTEN_TO), message, _WRITTEN_TO)
    target = written_to or read_from
    if target and str(target) == files.recipe.model.name:
        yield files.lora_source.problem(_WRITTEN_TO, f"is the base model's own folder: {target}")
    inputs = [files.pipeline_source.path, files.lora_source.path]
    for dataset in filter(None, (files.gate_dataset, files.train_dataset)):
        inputs += dataset.paths
    beside = next((path for path in inputs if path.parent == target), None)
    if beside and command in ("train", "run"):
        message = f"is the folder of {beside.name}; name one for the adapter alone, whose files may replace others"
        yield files.lora_source.problem(_WRITTEN_TO, message)


def _content(dataset: DatasetFiles) -> str:
    return combined_sha256([sha256_file(path) for path in dataset.paths])


def _same_model(one: str, other: str) -> bool:
    if one == other or not (is_local(one) and is_local(other)):
        return one == other
    return model_identity(one, None) == model_identity(other, None)


def _disagreement(files: Files, in_pipeline: KeyPath, in_lora: KeyPath, why: str) -> Problem:
    assert files.lora_source is not None, "a disagreement takes two files"
    one, other = files.pipeline_source, files.lora_source
    return one.problem(
        in_pipeline,
        f"'{_as_written(one, in_pipeline)}' is not the '{_as_written(other, in_lora)}' of {show_key_path(in_lora)}"
        f" ({other.place(in_lora)}); {why}: make them one, or leave one of the two keys out",
    )


def _as_written(source: ConfigSource, path: KeyPath) -> str:
    value = source.get(*path)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
