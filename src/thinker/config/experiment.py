"""Pipeline file and LoRA file, read, checked and brought into agreement: what every command starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from thinker.config.pipeline_models import PipelineConfig
from thinker.config.recipe_models import Recipe
from thinker.data.dataset_files import DatasetFiles


@dataclass(frozen=True)
class Experiment:
    """One experiment, ready to run.

    Attributes:
        config_path: the pipeline file, absolute.
        pipeline: its contents, every path absolute.
        recipe: the LoRA file's contents, every path absolute; None where the pipeline file has no `training`.
        dataset: the files that the gate checks and training reads.
        base_model: hub id, or absolute path of a folder or `.gguf` file; None without `training` and `evaluation`.
        checkpoint_dir: where training writes the adapter and evaluation finds it; None without either.
        evaluate_base_only: `evaluation.checkpoint_dir` is an explicit null, or nothing names an adapter.
        overrides: the `--set` expressions, in order, secrets masked.
    """

    config_path: Path
    pipeline: PipelineConfig
    recipe: Recipe | None
    dataset: DatasetFiles
    base_model: str | None
    checkpoint_dir: Path | None
    evaluate_base_only: bool = False
    overrides: tuple[str, ...] = ()
