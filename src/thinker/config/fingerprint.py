"""The digests by which experiments are told apart: SHA-256 of canonical JSON with contents in place of paths.

Neither the folder in which an experiment lies, nor comments, the order of keys or the spelling of a number change one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from thinker.config.experiment import Experiment
from thinker.config.identity import model_identity as model_identity
from thinker.config.model_names import is_local
from thinker.config.optimizers import FOLLOW_THE_LOSS
from thinker.config.paths import matching
from thinker.config.pipeline_models import DatasetPaths, DataValidationConfig
from thinker.config.recipe_models import Recipe
from thinker.config.resolved import resolved_config
from thinker.data.dataset_files import DatasetFiles, combined_sha256
from thinker.errors import ConfigError
from thinker.hashing import digest, sha256_file, tree_digest
from thinker.tasks.base import evaluation_inputs

_MISSING: Final = "missing"


def config_fingerprint(experiment: Experiment) -> str:
    """Digest of every setting of both files, but for places of output and the token.

    Inputs count by content (one that is not there, by being missing), a hub model by id and revision.

    Raises:
        OSError: an input cannot be read.
    """
    resolved = resolved_config(experiment)
    pipeline, lora = resolved["pipeline"], resolved["lora"]
    config = experiment.pipeline
    del pipeline["runs_dir"]
    pipeline["tests"]["path"] = _content(config.tests.path)
    pipeline["tests"]["inputs"] = [[_content(each) for each in matching(path)] for path in config.tests.inputs]
    pipeline["data_validation"]["schema"] = schema_content(config.data_validation)
    pipeline["data_validation"]["path"] = _dataset_content(experiment.pipeline.data_validation.path)
    if pipeline["training"]:
        del pipeline["training"]["config_path"]
    if config.evaluation:
        evaluation = pipeline["evaluation"]
        del evaluation["checkpoint_dir"], evaluation["output_path"]
        evaluation |= {key: _content(path) for key, path in evaluation_inputs(config.evaluation).items()}
        evaluation["base_model"] = _model(config.evaluation.base_model, None)
    if experiment.recipe:
        del lora["output"]["checkpoint_dir"], lora["model"]["hf_token"]
        lora["data"]["train_file"] = _dataset_content(experiment.recipe.data.train_file)
        lora["model"]["name"] = _model(experiment.recipe.model.name, experiment.recipe.model.revision)
        del lora["model"]["revision"]
    base_only = experiment.evaluate_base_only
    return digest({"digest": "config", "pipeline": pipeline, "lora": lora, "evaluate_base_only": base_only})


def training_inputs(
    experiment: Experiment,
    *,
    dataset_sha256: str,
    model_identity: str,
    versions: Mapping[str, str],
    hardware: Mapping[str, str | int] | None = None,
    plugins: Mapping[str, str | None] | None = None,
    world_size: int = 1,
) -> dict[str, Any]:
    """All that shapes the adapter: rows, base model, recipe, and the programs that turn them into weights.

    Args:
        experiment: with a recipe.
        dataset_sha256: of the JSONL file.
        model_identity: digest of what `model_identity` says of the base model.
        versions: of the libraries that compute.
        hardware: kind of device, precision and threads as resolved: bits differ between them.
        plugins: hashes of the task's and the backend's code.
        world_size: processes that train together.

    Raises:
        ConfigError: the experiment has no recipe.
    """
    training = experiment.pipeline.training
    if experiment.recipe is None or training is None:
        raise ConfigError("a training fingerprint needs a 'training' section with a LoRA file")
    recipe = resolved_config(experiment)["lora"]
    output = recipe.pop("output")
    if _evaluation_shapes(experiment.recipe):
        recipe["evaluations"] = [output["eval_strategy"], output["eval_steps"]]
    del recipe["data"]["train_file"]
    for key in ("name", "revision", "hf_token", "device_map"):
        del recipe["model"][key]
    return {
        "dataset": dataset_sha256,
        "max_examples": experiment.pipeline.data_validation.max_examples,
        "task": experiment.pipeline.task,
        "backend": training.backend,
        "base_model": model_identity,
        "recipe": recipe,
        "versions": dict(versions),
        "hardware": dict(hardware or {}),
        "plugins": dict(plugins or {}),
        "world_size": world_size,
    }


def _evaluation_shapes(recipe: Recipe) -> bool:
    """Whether the adapter depends on when the held-out rows are looked at."""
    training = recipe.training
    return (
        training.load_best_model_at_end
        or training.early_stopping_patience is not None
        or training.lr_scheduler_type in FOLLOW_THE_LOSS
        or training.optim.startswith("schedule_free")  # whose weights are averaged for it, and back, in rounded steps
    )


def training_fingerprint(inputs: Mapping[str, Any]) -> str:
    """Digest of `training_inputs`."""
    return digest({"digest": "training", **inputs})


def schema_content(config: DataValidationConfig) -> Any:
    """The schema as a digest counts it: its fields, or the content of a JSON Schema's file."""
    if isinstance(config.schema, Path):
        return {"json_schema": _content(config.schema)}
    return TypeAdapter(DataValidationConfig).dump_python(config, mode="json")["schema"]


def _dataset_content(paths: DatasetPaths | None) -> str | None:
    """Contents, number and order of the files count, their names do not."""
    if paths is None:
        return None
    return combined_sha256([str(_content(path)) for path in DatasetFiles.of(paths).paths])


def _content(path: Path | None) -> str | None:
    if path is None:
        return None
    if not path.exists():
        return _MISSING
    return tree_digest(path) if path.is_dir() else sha256_file(path)


def _model(name: str | None, revision: str | None) -> Any:
    """A model by content, or by the id and revision that the configuration gives: not what a cache happens to hold."""
    if name is None:
        return None
    if not is_local(name):
        return {"kind": "hub", "id": name, "revision": revision}
    return model_identity(name, None) if Path(name).exists() else _MISSING
