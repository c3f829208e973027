"""Both configuration files read, checked and brought into agreement: `load_pipeline_config`, `load_experiment`."""

from __future__ import annotations

import logging
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from thinker import plugins
from thinker.config.agreement import Files, disagreements, experiment
from thinker.config.dataset_paths import resolve_dataset
from thinker.config.experiment import Experiment
from thinker.config.json_schema_file import SUFFIX
from thinker.config.model_names import is_local, resolve_model_name
from thinker.config.overrides import Override, apply_override, option_override, parse_override
from thinker.config.paths import (
    DATASETS,
    absolute,
    file_mode,
    overwritten_input,
    path_problems,
    set_value,
    with_absolute_paths,
)
from thinker.config.pipeline_models import PipelineConfig
from thinker.config.problems import KeyPath, Place, Problem, config_error
from thinker.config.recipe_models import Recipe
from thinker.config.recipe_rules import lora_rules
from thinker.config.rules import Command, pipeline_rules
from thinker.config.schema_file import json_schema_problems
from thinker.config.shape import fit
from thinker.config.source import ConfigSource, child_value, shown_path
from thinker.config.tokens import take_token

log = logging.getLogger("thinker")

Model = TypeVar("Model")

_DEFAULT_RUNS_DIR: Final = Path("runs/thinker")
_MODEL_NAMES: Final[tuple[KeyPath, ...]] = (("evaluation", "base_model"), ("model", "name"))


@dataclass
class _File(Generic[Model]):
    """One file, checked: its source, its data with absolute paths, and the model unless there are problems."""

    source: ConfigSource
    data: dict[str, Any]
    model: Model | None
    problems: list[Problem]


def load_pipeline_config(path: Path | str, *, overrides: Sequence[str] = ()) -> PipelineConfig:
    """The pipeline file alone, every path absolute.

    Args:
        path: the file.
        overrides: `--set` expressions, all for this file (`pipeline.…=…`).

    Raises:
        ConfigError: the file cannot be used; tells all that is wrong with it, each with its place.
    """
    chosen, problems = _parse_overrides(overrides)
    problems += [
        Problem(Place(override.label), "a key of the LoRA file, which is not read here")
        for override in chosen
        if override.kind == "lora"
    ]
    file = _load_pipeline(Path(path), chosen, "validate")
    problems += file.problems
    if problems or file.model is None:
        raise config_error(problems)
    return file.model


def load_runs_dir(path: Path | str, *, overrides: Sequence[str] = ()) -> Path:
    """Where the run records of a pipeline file lie: records can be read whatever else has become of the experiment.

    Args:
        path: the pipeline file; where there is none, the answer is `runs/thinker` under the current folder.
        overrides: `--set` expressions; only one for `pipeline.runs_dir` matters.

    Raises:
        ConfigError: the file is not YAML, or its `runs_dir` no path.
    """
    chosen, problems = _parse_overrides(overrides)
    raw: Any = None
    base = Path.cwd()
    if Path(path).is_file():
        source = ConfigSource.read("pipeline", _given_path(Path(path), "--config"), shown_path(Path(path)))
        problems += source.problems + _override(source, [one for one in chosen if one.steps == ("runs_dir",)])
        raw, base = source.get("runs_dir"), source.base_folder(("runs_dir",))
        if not problems and not isinstance(raw, str | None):
            problems.append(source.problem(("runs_dir",), "expected text"))
    if problems:
        raise config_error(problems)
    return absolute(raw, base) if raw else _DEFAULT_RUNS_DIR.resolve()


def load_experiment(
    path: Path | str,
    *,
    command: Command = "validate",
    overrides: Sequence[str] = (),
    backend: str | None = None,
    checkpoint: Path | None = None,
) -> Experiment:
    """Pipeline file and LoRA file as one experiment, ready for `command`.

    Args:
        path: the pipeline file; it names the LoRA file.
        command: what is about to run: decides which sections and inputs must be there.
        overrides: `--set` expressions, in order.
        backend: in place of `training.backend`.
        checkpoint: the adapter to evaluate in place of the files', from the current folder.

    Raises:
        ConfigError: the files cannot be used; tells all that is wrong with both, each with its place.
    """
    plugins.import_from(Path(path).absolute().parent)
    chosen, problems = _parse_overrides(overrides)
    if backend is not None:
        chosen.append(option_override("--backend", "pipeline", ("training", "backend"), backend))
    pipeline = _load_pipeline(Path(path), chosen, command)
    lora = _load_lora(pipeline.data, chosen, command)
    problems += pipeline.problems
    sources, data = [pipeline.source], [pipeline.data]
    if lora:
        sources.append(lora.source)
        data.append(lora.data)
        problems += lora.problems
    elif pipeline.source.readable and not pipeline.source.get("training"):
        problems += [
            Problem(Place(override.label), "without a 'training' section in the pipeline file, no LoRA file is read")
            for override in chosen
            if override.kind == "lora"
        ]
    problems += overwritten_input(sources, data)
    if problems or pipeline.model is None:
        raise config_error(problems)
    files = Files(pipeline.model, pipeline.source)
    if lora:
        files = replace(files, recipe=lora.model, lora_source=lora.source)
    return _agreed(files, command, chosen, checkpoint)


def _agreed(files: Files, command: Command, chosen: list[Override], checkpoint: Path | None) -> Experiment:
    shown = [override.shown for override in chosen]
    if checkpoint is not None:
        shown.append(f"pipeline.evaluation.checkpoint_dir={checkpoint}")
        checkpoint = _given_path(checkpoint, "--checkpoint")
    if problems := list(disagreements(files, command, checkpoint)):
        raise config_error(problems)
    agreed = experiment(files, tuple(shown), checkpoint)
    place = files.pipeline_source.place(("evaluation", "checkpoint_dir"))
    if command == "run" and agreed.evaluate_base_only:
        log.warning(
            "%s: evaluation.checkpoint_dir is null: the base model is evaluated, not the trained adapter", place
        )
    if command == "eval" and agreed.evaluate_base_only and not files.adapter_declined:
        log.warning("%s: nothing names an adapter: the base model is evaluated", place)
    if agreed.recipe and agreed.recipe.model.revision and is_local(agreed.recipe.model.name):
        log.warning("model.revision has no meaning for a local model: %s", agreed.recipe.model.name)
    return agreed


def _parse_overrides(expressions: Sequence[str]) -> tuple[list[Override], list[Problem]]:
    parsed = [parse_override(expression) for expression in expressions]
    return [one for one in parsed if isinstance(one, Override)], [one for one in parsed if isinstance(one, Problem)]


def _load_pipeline(path: Path, chosen: list[Override], command: Command) -> _File[PipelineConfig]:
    source = ConfigSource.read("pipeline", _given_path(path, "--config"), shown_path(path))
    if not source.readable:
        return _File(source, {}, None, source.problems)
    problems = _override(source, chosen)
    source.problems += pipeline_rules(source, command)
    return _checked(PipelineConfig, source, command, problems)


def _load_lora(pipeline: dict[str, Any], chosen: list[Override], command: Command) -> _File[Recipe] | None:
    training = pipeline.get("training")
    path = training.get("config_path") if isinstance(training, dict) else None
    if not isinstance(path, str) or not stat.S_ISREG(file_mode(Path(path))):
        return None
    source = ConfigSource.read("lora", Path(path))
    if not source.readable:
        return _File(source, {}, None, source.problems)
    problems = _override(source, chosen)
    source.problems += take_token(source)
    source.problems += lora_rules(source)
    return _checked(Recipe, source, command, problems)


def _given_path(path: Path, option: str) -> Path:
    try:
        return absolute(str(path), Path.cwd())
    except ValueError as error:
        raise config_error([Problem(Place(f"{option} {path}"), str(error))]) from error


def _override(source: ConfigSource, chosen: list[Override]) -> list[Problem]:
    outcomes = [apply_override(override, source) for override in chosen if override.kind == source.kind]
    return [problem for problem in outcomes if problem]


def _checked(model: type[Model], source: ConfigSource, command: Command, problems: list[Problem]) -> _File[Model]:
    if source.kind == "pipeline" and not source.has("runs_dir"):
        source.data["runs_dir"] = str(_DEFAULT_RUNS_DIR.resolve())
    data, path_errors = with_absolute_paths(source, model)
    problems += path_errors
    problems += path_problems(source, data, command)
    for path in DATASETS:
        problems += resolve_dataset(source, data, path)
    problems += _schema_file_problems(data)
    for path in _MODEL_NAMES:
        problems += _resolve_model(source, data, path, command)
    fitted, misfits = fit(model, data, source)
    return _File(source, data, fitted, [*source.problems, *problems, *misfits])


def _schema_file_problems(data: dict[str, Any]) -> list[Problem]:
    """What is wrong with the JSON Schema that the pipeline file names, if it is there."""
    path = child_value(data.get("data_validation"), "schema")
    if not isinstance(path, str) or not path.endswith(SUFFIX) or not stat.S_ISREG(file_mode(Path(path))):
        return []
    return json_schema_problems(Path(path))


def _resolve_model(source: ConfigSource, data: dict[str, Any], path: KeyPath, command: Command) -> list[Problem]:
    raw = source.get(*path)
    if not isinstance(raw, str):
        return []
    try:
        name = resolve_model_name(raw, source.base_folder(path), must_exist=command != "validate")
    except ValueError as error:
        return [source.problem(path, str(error))]
    set_value(data, path, name)
    return []
