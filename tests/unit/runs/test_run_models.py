from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from thinker import secrets
from thinker.runs.models import (
    BaseModelRecord,
    EvaluationRecord,
    GitState,
    RunRecord,
    Sampling,
    Settings,
    TrainingRecord,
    ValidationRecord,
)
from thinker.runs.recorder import record_text
from thinker.runs.schema import record_schema, record_schema_text, shipped_record_schema

SHA = "0" * 64
SPECIFICATION_EXAMPLE: dict[str, Any] = {
    "timestamp": "2025-11-10T18:05:42Z",
    "config": "thinker/configs/pipeline_scifact.yaml",
    "git_commit": "abc123",
    "validation": {"pytest": "passed", "dataset_errors": 0},
    "training": {
        "backend": "hf_peft",
        "config": "thinker/configs/lora_config.yaml",
        "checkpoint_dir": "cns-support-models/checkpoints/claim-extractor-scifact",
        "metrics": {"loss": 1.04, "eval_loss": 0.93},
    },
    "evaluation": {
        "metrics": {"total": 50, "c1_exact_match_rate": 0.98, "evidence_semantic_match_avg": 0.62},
        "output": "runs/thinker_eval/scifact_dev_eval.jsonl",
    },
}


def record(**sections: Any) -> RunRecord:
    given = {
        "run_id": "20251110T180542Z",
        "timestamp": "2025-11-10T18:05:42Z",
        "command": "run",
        "config": "a.yaml",
    }
    return RunRecord.model_validate({**given, **sections})


def full_record() -> RunRecord:
    """Every section filled."""
    example = SPECIFICATION_EXAMPLE
    counts = {"passed": 3, "failed": 0, "errors": 0, "skipped": 1, "exit_code": 0, "duration_s": 1.5, "args": ["-v"]}
    file = {"path": "d.jsonl", "sha256": SHA, "size_bytes": 9}
    dataset = {**file, "files": [file], "rows": 2, "errors": 0}
    base_model = BaseModelRecord(name="m.gguf", identity={"kind": "gguf", "sha256": SHA, "files": {"a": SHA}})
    return record(
        **{**example, "git": GitState(commit="abc123", branch="main", dirty=False)},
        finished_at="2025-11-10T18:15:42Z",
        status="failed",
        exit_code=5,
        error={"stage": "training", "type": "TrainingError", "message": "no"},
        argv=["thinker", "run"],
        overrides=["training.learning_rate=1e-4"],
        digests={"config": SHA, "training": SHA, "gate": SHA},
        inputs=[{"role": "dataset", **file}],
        seeds={"data": 42},
        environment={
            "python": "3.11.7", "implementation": "CPython", "platform": "Linux", "machine": "x86_64",
            "processor": "a processor", "cpu_count": 2, "threads": 2, "device": "cpu", "versions": {"torch": "2.13.0"},
        },
        timings_s={"tests": 1.25},
        warnings=["fp16 on CPU"],
        artifacts={"log": {"path": "run.log", "sha256": SHA, "size_bytes": 10}},
    ).model_copy(
        update={
            "validation": ValidationRecord(pytest="passed", dataset_errors=0, tests=counts, dataset=dataset),
            "training": TrainingRecord(
                **example["training"], base_model=base_model, adapter_sha256=SHA, steps=4, epochs=1.0, rows=8,
                held_out_rows=[3, 5], dropped_rows=[], tokens=100, trained_tokens=40,
                settings=Settings(device="cpu", precision="bfloat16", threads=2, resolutions=["fp16 on CPU"]),
                resumed_from="steps/2", loss_first_quarter=2.0, loss_last_quarter=0.5, log_history="steps.jsonl",
            ),
            "evaluation": EvaluationRecord(
                **example["evaluation"], base_metrics={"total": 50, "evidence_semantic_match": [0.5, None]},
                confusion={"supports": {"none": 2}}, adapter={"path": "c", "sha256": SHA}, records=50,
                sampling=Sampling(temperature=0, top_p=0.9, max_new_tokens=256, seed=0), batch_size=8,
            ),
        }
    )  # fmt: skip


def validate_json(text: str) -> None:
    jsonschema.Draft202012Validator(json.loads(shipped_record_schema())).validate(json.loads(text))


def test_shipped_schema_is_what_the_models_give() -> None:
    assert shipped_record_schema() == record_schema_text(), "run `python -m thinker.runs.schema`"


def test_schema_is_a_valid_draft_2020_12_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(record_schema())


def test_every_field_is_documented() -> None:
    undocumented = [
        f"{name}.{key}"
        for name, part in {"RunRecord": record_schema(), **record_schema()["$defs"]}.items()
        for key, value in part.get("properties", {}).items()
        if "description" not in value
    ]

    assert undocumented == []


def test_full_record_fits_the_shipped_schema() -> None:
    validate_json(record_text(full_record()))


def test_record_of_a_run_that_reached_nothing_fits_the_shipped_schema() -> None:
    validate_json(record_text(record()))


def test_written_record_has_every_key_of_the_specifications_example_in_place() -> None:
    written = json.loads(record_text(full_record()))

    def contained(example: Any, found: Any) -> bool:
        if isinstance(example, dict):
            return all(key in found and contained(value, found[key]) for key, value in example.items())
        return bool(example == found)

    assert contained(SPECIFICATION_EXAMPLE, written)


def test_schema_refuses_an_unknown_key() -> None:
    text = record_text(record()).replace('"status"', '"statsu": 1,\n "status"', 1)

    with pytest.raises(jsonschema.ValidationError, match="statsu"):
        validate_json(text)


def test_models_refuse_an_unknown_key() -> None:
    with pytest.raises(ValidationError, match="dataset_error"):
        ValidationRecord.model_validate({"dataset_error": 1})


def test_written_record_reads_back_as_itself() -> None:
    assert RunRecord.model_validate_json(record_text(full_record())) == full_record()


def test_undefined_metric_is_written_as_null() -> None:
    training = {**SPECIFICATION_EXAMPLE["training"], "metrics": {"loss": math.nan, "eval_loss": math.inf}}

    text = record_text(record(training=training, evaluation={"metrics": {"rates": [math.nan, 0.5]}}))

    validate_json(text)
    assert json.loads(text)["training"]["metrics"] == {"loss": None, "eval_loss": None}
    assert json.loads(text)["evaluation"]["metrics"] == {"rates": [None, 0.5]}


def test_count_stays_an_integer_and_a_rate_a_float() -> None:
    metrics = record(evaluation={"metrics": {"total": 50, "rate": 1.0}}).evaluation.metrics

    assert [type(value) for value in metrics.values()] == [int, float]


@pytest.mark.skipif(sys.platform == "win32", reason="drive letters")
def test_path_already_written_keeps_its_spelling_under_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    written = record(config=Path("/data/project/pipeline.yaml"))
    monkeypatch.setattr(Path, "cwd", lambda: Path("/data/project"))

    assert RunRecord.model_validate_json(record_text(written)).config == "/data/project/pipeline.yaml"


def test_texts_keys_and_nested_values_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECORD_TEST_API_KEY", "planted-value-1")
    secrets.register("planted-value-2")

    found = record(
        warnings=["used planted-value-1"],
        seeds={"planted-value-2": 1},
        training={
            **SPECIFICATION_EXAMPLE["training"],
            "checkpoint_dir": Path("planted-value-1"),
            "base_model": {"name": "m", "identity": {"files": [{"planted-value-2": "planted-value-1"}]}},
        },
    )

    assert "planted-value" not in record_text(found)
    assert "planted-value" not in repr(found)
