from __future__ import annotations

from pathlib import Path

import pytest

from thinker.config import load_experiment, load_pipeline_config


def test_the_pipeline_example_loads_as_written(spec_pipeline: Path) -> None:
    config = load_pipeline_config(spec_pipeline)
    cns = spec_pipeline.parents[2] / "cns-support-models"
    assert config.tests.path == cns / "tests"
    assert config.tests.markers == "not slow"
    assert config.tests.args == ("-v",)
    assert config.data_validation.path == cns / "data/processed/scifact_claim_extractor.jsonl"
    assert config.data_validation.max_examples == 2000
    assert config.data_validation.schema is not None
    prompt, completion, metadata = config.data_validation.schema
    assert (prompt.name, prompt.type, prompt.required, prompt.allow_empty) == ("prompt", "string", True, False)
    assert (completion.name, completion.required, completion.allow_empty) == ("completion", True, False)
    assert (metadata.type, metadata.required) == ("object", False)
    assert config.training is not None
    assert config.training.backend == "hf_peft"
    assert config.training.config_path == spec_pipeline.parent / "lora_config.yaml"
    assert config.evaluation is not None
    assert config.evaluation.claims_file == cns / "data/raw/scifact/claims_dev.jsonl"
    assert config.evaluation.output_path == spec_pipeline.parents[2] / "runs/thinker_eval/scifact_dev_eval.jsonl"
    assert config.evaluation.max_samples == 50
    assert config.task == "scifact_claims"
    assert config.runs_dir == Path.cwd() / "runs/thinker"


def test_the_lora_example_loads_as_written(spec_pipeline: Path) -> None:
    recipe = load_experiment(spec_pipeline).recipe
    assert recipe is not None
    assert recipe.model.name == "meta-llama/Llama-3.1-8B-Instruct"
    assert recipe.model.quantization == "4bit"
    assert recipe.model.hf_token is None
    assert recipe.lora.target_modules == ("q_proj", "k_proj", "v_proj", "o_proj")
    assert recipe.training.learning_rate == 2e-4
    assert recipe.training.fp16 is True
    assert recipe.training.claim_c1_weight == 5.0
    assert recipe.data.seed == 42
    assert recipe.output.report_to == "none"
    assert recipe.output.save_total_limit == 3


@pytest.mark.parametrize("command", ["validate", "train", "eval", "run"])
def test_both_examples_make_one_experiment(spec_pipeline: Path, command: str) -> None:
    experiment = load_experiment(spec_pipeline, command=command)  # type: ignore[arg-type]
    cns = spec_pipeline.parents[2] / "cns-support-models"
    assert experiment.config_path == spec_pipeline
    assert experiment.dataset.paths == (cns / "data/processed/scifact_claim_extractor.jsonl",)
    assert experiment.checkpoint_dir == cns / "checkpoints/claim-extractor-scifact"
    assert experiment.base_model == "meta-llama/Llama-3.1-8B-Instruct"
    assert experiment.evaluate_base_only is False
    assert experiment.overrides == ()
