"""A dataset of several files, some of them compressed, from the gate to the adapter."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from support.compressed import compress
from support.project import CAPITALS, Project, jsonl

from thinker.config import load_experiment
from thinker.data.dataset_files import combined_sha256
from thinker.errors import DataError

ROWS = [{"prompt": f"What is the capital of {c}?\n", "completion": city} for c, city in CAPITALS.items()]
# Rows 0 to 9 in the order of `train.jsonl`; the list puts the plain file in the middle.
FILES = {
    "data/part-1.jsonl.gz": ROWS[:3], "data/part-2.jsonl.gz": ROWS[3:4], "data/more.jsonl": ROWS[4:8],
    "data/rest.jsonl.zst": ROWS[8:10],
}  # fmt: skip
NAMED = "path: [data/part-*.jsonl.gz, data/more.jsonl, data/rest.jsonl.zst]"


def write_rows(project: Project, name: str, rows: Any) -> None:
    text = rows if isinstance(rows, str) else jsonl(rows)
    (project.root / name).write_bytes(compress(text.encode(), Path(name).suffix))


@pytest.fixture
def shards(project: Project) -> Project:
    """The project, its dataset in four files."""
    for name, rows in FILES.items():
        write_rows(project, name, rows)
    project.replace("pipeline.yaml", "path: data/train.jsonl", NAMED)
    return project


def sha256s(project: Project) -> list[str]:
    return [hashlib.sha256((project.root / name).read_bytes()).hexdigest() for name in FILES]


def validated(project: Project) -> dict[str, Any]:
    """The record's dataset section, after a gate that passed."""
    assert project.run_here("validate") == 0
    found: dict[str, Any] = project.record()["validation"]["dataset"]
    return found


def problems(project: Project) -> list[dict[str, Any]]:
    (path,) = (project.root / "runs").glob("*/dataset_problems.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_same_rows_give_the_same_adapter_however_they_are_filed(shards: Project) -> None:
    assert shards.run_here("train") == 0
    in_files, record = shards.adapter_sha256(), shards.record()
    shards.replace("pipeline.yaml", NAMED, "path: data/train.jsonl")
    shards.replace("lora.yaml", "checkpoint_dir: adapter", "checkpoint_dir: whole")
    assert shards.run_here("train") == 0
    assert shards.adapter_sha256("whole") == in_files
    whole = shards.record()
    assert whole["training"]["rows"] == record["training"]["rows"] == 10
    assert whole["plan"] == record["plan"]
    assert whole["digests"]["training"] != record["digests"]["training"], "the bytes are not the same"


def test_the_record_has_an_entry_for_each_file_and_one_hash_for_all(shards: Project) -> None:
    dataset = validated(shards)
    sizes = [(shards.root / name).stat().st_size for name in FILES]
    entries = [
        {"path": name, "sha256": sha256, "size_bytes": size}
        for name, sha256, size in zip(FILES, sha256s(shards), sizes, strict=True)
    ]
    assert dataset["files"] == entries
    assert (dataset["path"], dataset["sha256"]) == (None, combined_sha256(sha256s(shards)))
    assert (dataset["size_bytes"], dataset["rows"]) == (sum(sizes), 10)
    inputs = [entry for entry in shards.record()["inputs"] if entry["role"] == "dataset"]
    assert inputs == [{**entry, "role": "dataset"} for entry in entries]


def test_a_dataset_of_one_file_is_recorded_with_its_path(project: Project) -> None:
    dataset = validated(project)
    assert dataset["path"] == "data/train.jsonl"
    assert dataset["files"] == [{name: dataset[name] for name in ("path", "sha256", "size_bytes")}]


def test_errors_name_the_file_and_the_line_in_it(shards: Project, capfd: pytest.CaptureFixture[str]) -> None:
    write_rows(shards, "data/part-2.jsonl.gz", '{"prompt": "a"}\n')
    write_rows(shards, "data/more.jsonl", jsonl(ROWS[4:6]) + "\nnonsense\n")
    write_rows(shards, "data/rest.jsonl.zst", "\n" + jsonl(ROWS[8:9]) + '{"prompt": 3, "completion": "x"}')
    assert shards.run_here("validate") == 4
    shown = capfd.readouterr().err
    for place in ("part-2.jsonl.gz:1: cannot be read as an example: ", "more.jsonl:4: ", "rest.jsonl.zst:3: prompt: "):
        assert place in shown
    root = shards.root.resolve() / "data"
    found = problems(shards)
    errors = [(problem["file"], problem["line"]) for problem in found if problem["level"] == "error"]
    assert errors == [(f"{root}/part-2.jsonl.gz", 1), (f"{root}/more.jsonl", 4), (f"{root}/rest.jsonl.zst", 3)]
    blank = [(problem["file"], problem["line"]) for problem in found if problem["rule"] == "blank-line"]
    assert blank == [(f"{root}/more.jsonl", 3), (f"{root}/rest.jsonl.zst", 1)]


def test_what_concerns_the_whole_dataset_says_so(shards: Project, capfd: pytest.CaptureFixture[str]) -> None:
    for name in FILES:
        write_rows(shards, name, "")
    assert shards.run_here("validate") == 4
    assert "part-1.jsonl.gz: no rows (all 4 files)" in capfd.readouterr().err


def test_a_truncated_file_stops_the_gate_by_name(shards: Project, capfd: pytest.CaptureFixture[str]) -> None:
    path = shards.root / "data/rest.jsonl.zst"
    path.write_bytes(path.read_bytes()[:-3])
    assert shards.run_here("validate") == 4
    assert "rest.jsonl.zst is cut off" in capfd.readouterr().err


def test_too_long_rows_are_listed_with_their_files(shards: Project, capfd: pytest.CaptureFixture[str]) -> None:
    write_rows(shards, "data/more.jsonl", [ROWS[4], {"prompt": "long " * 300, "completion": "x"}])
    assert shards.run_here("train", "--skip-validation") == 4
    assert f"{shards.root.resolve()}/data/more.jsonl:2 (" in capfd.readouterr().err


@pytest.mark.parametrize("cap", [2, 4, 9])
def test_the_cap_counts_over_all_files(shards: Project, cap: int) -> None:
    shards.replace("pipeline.yaml", NAMED, f"{NAMED}\n  max_examples: {cap}")
    assert shards.run_here("run", "--dry-run", "--no-probe") == 0
    record = shards.record()
    assert (record["validation"]["dataset"]["rows"], record["validation"]["dataset"]["complete"]) == (cap, False)
    assert record["plan"]["rows"] == cap


def test_a_cap_that_is_the_number_of_rows_leaves_nothing_out(shards: Project) -> None:
    shards.replace("pipeline.yaml", NAMED, f"{NAMED}\n  max_examples: 10")
    assert validated(shards)["complete"] is True


@pytest.mark.parametrize("name", FILES)
def test_an_edit_of_any_file_after_the_gate_stops_training(shards: Project, name: str) -> None:
    from thinker.pipeline import ThinkerPipeline
    from thinker.runs import RunRecorder

    experiment = load_experiment(shards.root / "pipeline.yaml", command="train")
    recorder = RunRecorder.start(shards.root / "runs", command="train", argv=[], config_path=experiment.config_path)
    pipeline = ThinkerPipeline(experiment, recorder)
    pipeline.validate()
    write_rows(shards, name, [{**row, "completion": "Atlantis"} for row in FILES[name]])
    with pytest.raises(DataError, match=r"the dataset .*part-1\.jsonl\.gz and 3 more changed after it was checked"):
        pipeline.train()
    recorder.finish("failed", DataError.exit_code)
    assert DataError.exit_code == 4
    assert not (shards.root / "adapter").exists()


def test_rows_to_evaluate_may_be_compressed(shards: Project) -> None:
    from thinker.plugins import resolve

    write_rows(shards, "data/eval.jsonl.gz", ROWS[8:])
    shards.replace("pipeline.yaml", "data/eval.jsonl", "data/eval.jsonl.gz")
    evaluation = load_experiment(shards.root / "pipeline.yaml", command="run").pipeline.evaluation
    assert evaluation is not None
    records = resolve("tasks", "prompt_completion")().records(evaluation, [])
    assert [record.prompt for record in records] == [row["prompt"] for row in ROWS[8:]]


def test_the_run_is_shown_with_its_files(shards: Project, capfd: pytest.CaptureFixture[str]) -> None:
    validated(shards)
    capfd.readouterr()
    assert shards.run_here("runs", "show") == 0
    shown = capfd.readouterr().out
    assert f"dataset   data/part-1.jsonl.gz (sha256 {sha256s(shards)[0][:12]})\n" in shown
    assert f"dataset   data/rest.jsonl.zst (sha256 {sha256s(shards)[3][:12]})\n" in shown
