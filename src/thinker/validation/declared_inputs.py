"""The gate's inputs as far as the configuration declares them, part by part; every file is hashed when asked for."""

from __future__ import annotations

import glob
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

import thinker
from thinker import plugins
from thinker.config.experiment import Experiment
from thinker.config.identity import tokenizer_identity
from thinker.config.model_names import is_local
from thinker.config.pipeline_models import SchemaField
from thinker.hashing import tree_digest
from thinker.runs import library_versions
from thinker.tasks.base import Task, evaluation_inputs
from thinker.validation.codes import CODES
from thinker.validation.gate_inputs import GateInputs, Part
from thinker.validation.places import Places, folder_of, hash_of
from thinker.validation.plugin_code import plugin_files
from thinker.validation.suite_inputs import pytest_plugins

# A verdict may change with each of these, as far as they are installed.
_PACKAGES: Final = ("backports.zstd", "gguf", "jinja2", "jsonschema-rs", "pydantic", "pytest", "tokenizers",
                    "transformers")  # fmt: skip
# What decides token ids, weights, the split and the number of steps, all of which the gate checks.
_RECIPE_KEYS: Final = {
    "model": ("prompt_format",),
    "training": ("max_seq_length", "on_overlong", "claim_c1_weight", "evidence_weight", "per_device_batch_size",
                 "gradient_accumulation_steps", "num_epochs", "max_steps", "warmup_steps"),
    "data": ("validation_split", "seed"),
}  # fmt: skip
_TOKENIZER_KEY: Final = "model.name"
_MODEL_REVISION: Final = "model.revision"


def places_of(experiment: Experiment) -> Places:
    """The folders in which files count as the experiment's."""
    config = experiment.pipeline
    further: dict[str, Path] = {}
    if config.tests.path is not None:
        further["tests.path"] = folder_of(config.tests.path)
    for index, path in enumerate(experiment.dataset.paths):
        further[f"data_validation.path{index or ''}"] = path.parent
    if isinstance(config.data_validation.schema, Path):
        further["data_validation.schema"] = config.data_validation.schema.parent
    for key, path in (evaluation_inputs(config.evaluation) if config.evaluation else {}).items():
        further[f"evaluation.{key}"] = path.parent
    for index, path in enumerate(config.tests.inputs):
        fixed = next(above for above in (path, *path.parents) if not glob.has_magic(str(above)))
        further[f"tests.inputs.{index}"] = folder_of(fixed)
    if experiment.recipe and is_local(experiment.recipe.model.name):
        further[_TOKENIZER_KEY] = folder_of(Path(experiment.recipe.model.name))
    return Places(experiment.config_path, further, left_out=[config.runs_dir])


def combined(experiment: Experiment, *parts: Part) -> GateInputs:
    """The inputs of `parts`, and the versions of the programs that judge them."""
    settings: dict[str, Any] = {}
    files: dict[str, str | None] = {}
    for part in parts:
        settings |= part.settings
        files |= part.files
    return GateInputs.of(settings, files, _versions(experiment))


def checked_part(experiment: Experiment, task: Task, places: Places, *further: Part) -> Part:
    """What the dataset's checks rest on: all that is declared but the suite.

    Args:
        experiment: the configuration.
        task: the experiment's.
        places: names the files.
        further: the parts of evaluation and tokenizer, which are also looked at by themselves.

    Raises:
        OSError: a file cannot be read.
    """
    settings, files = _encoding(experiment), _plugins(experiment, task, places)
    for part in (_dataset(experiment, task, places), *further):
        settings |= part.settings
        files |= part.files
    return Part(settings, files)


def with_observed(
    declared: GateInputs, places: Places, files: Iterable[str], packages: Iterable[str], settings: Mapping[str, Any]
) -> GateInputs:
    """`declared`, and what else a suite was seen to read, as it is now.

    Args:
        declared: what the configuration declares.
        places: where the files are.
        files: names; those already declared keep their hash.
        packages: names of distributions.
        settings: further settings.
    """
    found = {name: places.content(name) for name in files if name not in declared.files}
    wanted = [name for name in packages if name not in declared.versions]
    versions = {**dict.fromkeys(wanted), **library_versions(wanted)}
    return GateInputs.of(
        {**settings, **declared.settings}, {**found, **declared.files}, {**versions, **declared.versions}
    )


def evaluation_part(experiment: Experiment, places: Places) -> Part:
    """The records to evaluate, with which the rows are compared."""
    evaluation = experiment.pipeline.evaluation
    if evaluation is None:
        return Part({}, {})
    settings: dict[str, Any] = {}
    files = {}
    for key, path in evaluation_inputs(evaluation).items():
        name = places.name(path, f"evaluation.{key}")
        settings[f"evaluation.{key}"] = name
        files[name] = hash_of(path)
    return Part(settings, files)


def tokenizer_part(experiment: Experiment, places: Places) -> Part:
    """What cuts the rows into tokens: files of a local model, or id and commit of a hub model."""
    recipe = experiment.recipe
    if recipe is None:
        return Part({}, {})
    name = recipe.model.name
    if not is_local(name):
        identity = tokenizer_identity(name, recipe.model.revision)
        return Part({_TOKENIZER_KEY: name, _MODEL_REVISION: identity["revision"]}, {})
    path = Path(name)
    called = places.name(path, _TOKENIZER_KEY)
    if not path.exists():
        files: dict[str, str | None] = {called: None}
    elif path.is_dir():
        hashes = tokenizer_identity(name, None)["files"]
        files = {places.name(path / file, _TOKENIZER_KEY): sha256 for file, sha256 in hashes.items()}
    else:
        files = {called: hash_of(path)}
    return Part({_TOKENIZER_KEY: called}, files)


def dataset_names(experiment: Experiment, places: Places) -> list[str]:
    """The names of the dataset's files, in the order in which they are read."""
    return [
        places.name(path, f"data_validation.path{index or ''}") for index, path in enumerate(experiment.dataset.paths)
    ]


def _dataset(experiment: Experiment, task: Task, places: Places) -> Part:
    config = experiment.pipeline.data_validation
    names = dataset_names(experiment, places)
    files = dict(zip(names, map(hash_of, experiment.dataset.paths), strict=True))
    settings: dict[str, Any] = {
        "data_validation.path": names if len(names) > 1 else names[0],
        "data_validation.max_examples": config.max_examples,
        "task": experiment.pipeline.task,
        "data_validation.custom_checks": config.custom_checks or None,
    }
    for code, level in config.checks.items():
        if code in CODES and level != CODES[code].level:
            settings[f"data_validation.checks.{code}"] = level
    if isinstance(config.schema, Path):
        name = places.name(config.schema, "data_validation.schema")
        settings["data_validation.schema"] = name
        files[name] = hash_of(config.schema)
    else:
        settings |= _schema(task.default_schema if config.schema is None else config.schema)
    return Part(settings, files)


def _schema(fields: Sequence[SchemaField]) -> dict[str, Any]:
    """A setting for each field. Defaults are left out: writing one down changes nothing."""
    dumped = [TypeAdapter(SchemaField).dump_python(each, mode="json", exclude_defaults=True) for each in fields]
    return {f"data_validation.schema.{each.pop('name')}": each for each in dumped}


def _encoding(experiment: Experiment) -> dict[str, Any]:
    recipe = experiment.recipe
    return {
        f"{section}.{key}": getattr(getattr(recipe, section), key)
        for section, keys in _RECIPE_KEYS.items()
        for key in keys
        if recipe is not None
    }


def _plugins(experiment: Experiment, task: Task, places: Places) -> dict[str, str | None]:
    """The code that the verdict rests on and that does not come with Thinker."""
    files: dict[str, str | None] = {}
    for what, plugin in _named_plugins(experiment, task):
        for path, inside in plugin_files(plugin).items():
            name = places.name_if_ours(path) or f"{what}:{inside}"
            files[name] = hash_of(path)
    return files


def _named_plugins(experiment: Experiment, task: Task) -> Iterator[tuple[str, Any]]:
    """The plugins that the configuration names, and what they are called."""
    yield f"task {experiment.pipeline.task}", task
    config = experiment.pipeline.data_validation
    for name in config.custom_checks:
        yield f"check {name}", plugins.resolve("checks", name)
    fields = config.schema if config.schema is not None else task.default_schema
    for name in sorted(set(_validators(fields if not isinstance(fields, Path) else ()))):
        yield f"validator {name}", plugins.resolve("validators", name)


def _validators(fields: Sequence[SchemaField]) -> Iterator[str]:
    for each in fields:
        if each.validator is not None:
            yield each.validator
        yield from _validators((*(each.fields or ()), *((each.items,) if each.items else ())))


def _versions(experiment: Experiment) -> dict[str, str | None]:
    found: dict[str, str | None] = {
        "thinker": f"{thinker.__version__} ({_own_code()[:12]})",
        "python": f"{platform.python_implementation()} {sys.version_info.major}.{sys.version_info.minor}",
    }
    wanted = list(_PACKAGES)
    if experiment.pipeline.tests.enabled:
        wanted += pytest_plugins()
    return {**found, **dict.fromkeys(wanted), **library_versions(wanted)}


@cache
def _own_code() -> str:
    """Thinker's own code: its version alone does not tell an installation that was edited."""
    return tree_digest(Path(thinker.__file__).parent)
