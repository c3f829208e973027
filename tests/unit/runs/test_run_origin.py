from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thinker.errors import PreconditionError
from thinker.runs.models import RunRecord
from thinker.runs.origin import RecordedRun

RUN_ID = "20251110T180542Z"
PIPELINE = "tests: {enabled: false}\ndata_validation: {path: d.jsonl}\n"


def recorded(path: Path, *, runs_dir: str = "runs", **sections: Any) -> RecordedRun:
    """A run whose record lies at `path` and calls its own folder `<runs_dir>/<id>`."""
    file = {"path": f"{runs_dir}/{RUN_ID}/config.resolved.json", "sha256": "0" * 64, "size_bytes": 1}
    given = {
        "run_id": RUN_ID, "timestamp": "2025-11-10T18:05:42Z", "command": "validate", "config": "pipeline.yaml",
        "artifacts": {"config.resolved": file}, **sections,
    }  # fmt: skip
    return RecordedRun(path, RunRecord.model_validate(given))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a pipeline file; the current folder is another one."""
    folder, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    (folder / "d.jsonl").write_text('{"prompt": "p", "completion": "c"}\n', encoding="utf-8")
    monkeypatch.chdir(elsewhere)
    return folder


def write_down(record: Path, folder: Path) -> None:
    resolved = record.parent / RUN_ID / "config.resolved.json"
    resolved.parent.mkdir(parents=True)
    resolved.write_text(json.dumps({"current_folder": str(folder)}), encoding="utf-8")


@pytest.mark.parametrize("runs_dir", ["runs", "runs/thinker", "."])
def test_relative_paths_start_above_the_runs_folder(runs_dir: str, project: Path) -> None:
    run = recorded(project / runs_dir / f"{RUN_ID}.json", runs_dir=runs_dir)
    assert run.folder == project
    assert run.place("data/d.jsonl") == project / "data/d.jsonl"
    assert run.place("/abs/d.jsonl") == Path("/abs/d.jsonl")


def test_where_the_record_lies_elsewhere_the_folder_that_the_run_wrote_down_counts(
    project: Path, tmp_path: Path
) -> None:
    path = tmp_path / "all-runs" / f"{RUN_ID}.json"
    write_down(path, project)
    run = recorded(path, runs_dir=str(tmp_path / "all-runs"))
    assert run.folder == project


def test_a_record_by_itself_belongs_to_the_current_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    assert recorded(tmp_path / "mail" / "record.json").folder == project


def test_a_moved_project_is_not_mistaken_for_the_one_that_it_was_copied_from(project: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    write_down(copy / "runs" / f"{RUN_ID}.json", project)
    assert recorded(copy / "runs" / f"{RUN_ID}.json").folder == copy


def test_a_base_model_in_the_project_moves_with_it(project: Path, tmp_path: Path) -> None:
    path = project / "runs" / f"{RUN_ID}.json"
    write_down(path, tmp_path / "before")
    training = {"backend": "hf_peft", "config": "lora.yaml", "checkpoint_dir": "adapter"}
    inside, outside = str(tmp_path / "before" / "model"), str(tmp_path / "models" / "model")
    for name, expected in ((inside, str(project / "model")), (outside, outside), ("owner/name", "owner/name")):
        assert recorded(path, training={**training, "base_model": {"name": name}}).base_model() == expected


def test_relative_paths_in_overrides_start_from_the_runs_folder(project: Path) -> None:
    (project / "other.jsonl").write_text("{}\n", encoding="utf-8")
    run = recorded(project / "runs" / f"{RUN_ID}.json", overrides=["pipeline.data_validation.path=other.jsonl"])
    assert run.load_experiment("validate").dataset.paths == (project / "other.jsonl",)


def test_a_token_among_the_overrides_is_left_out_and_another_masked_value_is_refused(project: Path) -> None:
    path = project / "runs" / f"{RUN_ID}.json"
    run = recorded(path, overrides=["model.hf_token=***", "pipeline.data_validation.max_examples=5"])
    assert run.load_experiment("validate").pipeline.data_validation.max_examples == 5
    with pytest.raises(PreconditionError, match=r"--set pipeline\.task=\*\*\*: its value was taken for a secret"):
        recorded(path, overrides=["pipeline.task=***"]).load_experiment("validate")


def test_a_missing_pipeline_file_is_named(project: Path) -> None:
    (project / "pipeline.yaml").unlink()
    run = recorded(project / "runs" / f"{RUN_ID}.json")
    with pytest.raises(PreconditionError, match=f"the run's pipeline file is missing: {project}/pipeline.yaml"):
        run.load_experiment("validate")
