"""The configuration as it was understood: for the run folder, and for the digests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from thinker.config.experiment import Experiment
from thinker.config.pipeline_models import PipelineConfig
from thinker.config.recipe_models import Recipe


def resolved_config(experiment: Experiment) -> dict[str, Any]:
    """Both files as JSON: defaults and each other's values filled in, paths absolute, secrets null.

    The current folder is there for who reads the record later: paths in it, and in overrides, start there.
    """
    lora = None
    if experiment.recipe:
        lora = TypeAdapter(Recipe).dump_python(experiment.recipe, mode="json")
        lora["model"]["hf_token"] = None
    return {
        "config_path": str(experiment.config_path),
        "current_folder": str(Path.cwd()),
        "pipeline": TypeAdapter(PipelineConfig).dump_python(experiment.pipeline, mode="json"),
        "lora": lora,
        "evaluate_base_only": experiment.evaluate_base_only,
        "overrides": list(experiment.overrides),
    }
