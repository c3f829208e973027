"""Configuration: both YAML files as frozen models, read with places, checked and brought into agreement."""

from thinker.config.experiment import Experiment
from thinker.config.loader import load_experiment, load_pipeline_config, load_runs_dir
from thinker.config.pipeline_models import (
    DataValidationConfig,
    EvaluationConfig,
    PipelineConfig,
    SchemaField,
    TestSuiteConfig,
    TrainingConfig,
)
from thinker.config.recipe_models import Recipe
from thinker.config.rules import Command

__all__ = [
    "Command",
    "DataValidationConfig",
    "EvaluationConfig",
    "Experiment",
    "PipelineConfig",
    "Recipe",
    "SchemaField",
    "TestSuiteConfig",
    "TrainingConfig",
    "load_experiment",
    "load_pipeline_config",
    "load_runs_dir",
]
