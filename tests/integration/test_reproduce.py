"""`thinker reproduce` through the command line: what matches, and what is named where something does not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file
from support.project import Project, jsonl, make_project

from thinker.hashing import sha256_file, tree_hashes

OPTIONS = ("--set", "training.learning_rate=0.02", "--set", "pipeline.evaluation.compare_base=true")
Record = dict[str, Any]
Edit = Callable[[Record], None]


class Outcome(NamedTuple):
    code: int
    found: dict[str, Any]

    @property
    def said(self) -> list[str]:
        return [each["message"] for each in self.found["differences"]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Project:
    """A project after one `thinker run`. Do not write to it."""
    project = make_project(tmp_path_factory.mktemp("trained") / "project", tiny_model)
    assert project.run_here("run", "-q", *OPTIONS) == 0
    return project


@pytest.fixture
def moved(trained: Project, tmp_path: Path) -> Project:
    """A copy of it in another folder, to change something in."""
    return Project(shutil.copytree(trained.root, tmp_path / "moved"))


@pytest.fixture
def reproduce(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    def run(project: Project, *args: str) -> Outcome:
        capfd.readouterr()
        code = project.run_here("reproduce", "--json", *args)
        printed = capfd.readouterr()
        return Outcome(code, json.loads(printed.out))

    return run


def record_path(project: Project) -> Path:
    return next((project.root / "runs").glob("*.json"))


def edit(project: Project, change: Edit) -> None:
    path = record_path(project)
    record = json.loads(path.read_text(encoding="utf-8"))
    change(record)
    path.write_text(json.dumps(record), encoding="utf-8")


def contents(folder: Path) -> dict[str, str]:
    """Everything below `folder`, folders whose name starts with a dot included, with times of change."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): f"{sha256_file(path)} {path.stat().st_mtime_ns}" for path in files}


def at(record: Any, *keys: str | int) -> Any:
    for key in keys:
        record = record[key]
    return record


def setting(value: Any, *keys: str | int) -> Edit:
    """An edit that puts `value` at `keys`."""

    def change(record: Record) -> None:
        at(record, *keys[:-1])[keys[-1]] = value

    return change


def test_a_run_matches_with_the_hashes_of_what_it_made_and_nothing_is_written(trained: Project, reproduce) -> None:
    before = contents(trained.root)
    outcome = reproduce(trained)
    assert (outcome.code, outcome.found["status"], outcome.said) == (0, "match", [])
    record = trained.record()
    made = outcome.found["made"]
    assert made["adapter_sha256"] == record["training"]["adapter_sha256"] == trained.adapter_sha256()
    assert made["predictions"] == record["artifacts"]["predictions"]["sha256"]
    assert made["base_predictions"] == record["artifacts"]["base_predictions"]["sha256"]
    assert made["metrics"] == record["evaluation"]["metrics"]
    assert contents(trained.root) == before


@pytest.mark.slow
def test_a_match_is_one_line_for_people(trained: Project, capfd) -> None:
    assert trained.run_here("reproduce") == 0
    shown = capfd.readouterr().out.splitlines()
    assert len(shown) == 1
    assert shown[0].startswith("MATCH")
    assert trained.adapter_sha256() in shown[0]


def test_a_project_that_was_moved_matches_from_any_folder_with_as_many_threads_as_then(
    moved: Project, tmp_path: Path, reproduce, monkeypatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    (tmp_path / "elsewhere").mkdir()
    outcome = reproduce(Project(tmp_path / "elsewhere"), str(record_path(moved)))
    assert (outcome.code, outcome.said) == (0, [])


@pytest.mark.slow
def test_the_threads_and_folder_of_the_process_are_as_before(trained: Project, reproduce, monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    before, folder = dict(os.environ), Path.cwd()
    reproduce(trained)
    assert (dict(os.environ), Path.cwd()) == (before, folder)


def change_a_byte(project: Project) -> None:
    project.replace("data/train.jsonl", "Paris", "Parix")


FILES_CHANGED = {
    "a byte of the dataset": (change_a_byte, "dataset data/train.jsonl: recorded "),
    "a hyperparameter": (
        lambda project: project.replace("lora.yaml", "lora_alpha: 8", "lora_alpha: 16 # more"),
        "lora.lora_alpha: recorded 8.0, here 16.0",
    ),
    "a hyperparameter that was a default": (
        lambda project: project.replace("lora.yaml", "  num_epochs: 2\n", "  num_epochs: 2\n  weight_decay: 0.1\n"),
        "training.weight_decay: recorded 0.0, here 0.1",
    ),
    "the seed": (lambda project: project.replace("lora.yaml", "seed: 7", "seed: 8"), "data.seed: recorded 7, here 8"),
    "how is evaluated": (
        lambda project: project.replace("pipeline.yaml", "max_new_tokens: 6", "max_new_tokens: 5"),
        "pipeline.evaluation.max_new_tokens: recorded 6, here 5",
    ),
    "the records to evaluate": (
        lambda project: project.replace("data/eval.jsonl", "Iran", "Oman"),
        "data_file data/eval.jsonl: recorded ",
    ),
    "how much of the dataset is read": (
        lambda project: project.replace("pipeline.yaml", "train.jsonl\n", "train.jsonl\n  max_examples: 9\n"),
        "pipeline.data_validation.max_examples: recorded null, here 9",
    ),
}


@pytest.mark.parametrize("what", FILES_CHANGED)
def test_a_changed_file_is_named_by_what_changed_in_it_and_nothing_else_is(
    what: str, moved: Project, reproduce
) -> None:
    change, expected = FILES_CHANGED[what]
    change(moved)
    outcome = reproduce(moved)
    assert outcome.code == 7
    assert outcome.found["status"] == "differs"
    assert not outcome.found["replayed"]
    (said,) = outcome.said
    assert said.startswith(expected)


def input_of(role: str) -> Edit:
    def change(record: Record) -> None:
        next(file for file in record["inputs"] if file["role"] == role)["sha256"] = "0" * 64

    return change


RECORD_EDITED = {
    "torch": (setting("2.12.0", "environment", "versions", "torch"),
              f"torch: recorded 2.12.0, here {torch.__version__}"),
    "a package that is not installed": (setting("1.0", "environment", "versions", "no-such-package"),
                                        "no-such-package: recorded 1.0, here not installed"),
    "a version that the digest covers": (
        setting("5.0.0", "training_inputs", "versions", "transformers"),
        f"transformers: recorded 5.0.0, here {transformers.__version__}",
    ),
    "python": (setting("3.9.1", "environment", "python"), "CPython: recorded 3.9.1, here "),
    "machine": (setting("arm64", "environment", "machine"), "machine: recorded arm64, here "),
    "threads": (setting(7, "environment", "threads"), "threads: recorded 7, here 1"),
    "precision": (setting("bfloat16", "training", "settings", "precision"),
                  "precision: recorded bfloat16, here float32"),
    "device": (setting("cuda:0 (NVIDIA H100)", "training", "settings", "device"),
               "device: recorded (NVIDIA H100), here cpu"),
    "seed": (setting(8, "seeds", "data"), "data.seed: recorded 8, here 7"),
    "seed of evaluation": (setting(1, "seeds", "evaluation"), "pipeline.evaluation.seed: recorded 1, here 0"),
    "sampling": (setting(0.5, "evaluation", "sampling", "temperature"),
                 "pipeline.evaluation.temperature: recorded 0.5, here 0.0"),
    "recipe": (setting(5, "training_inputs", "recipe", "training", "num_epochs"),
               "training.num_epochs: recorded 5, here 2.0"),
    "override": (setting(["training.learning_rate=0.03", "pipeline.evaluation.compare_base=true"], "overrides"),
                 "training.learning_rate: recorded 0.02, here 0.03"),
    "backend": (setting("tinker", "training", "backend"), "pipeline.training.backend: recorded tinker, here hf_peft"),
    "processes": (setting(2, "training_inputs", "world_size"), "world_size: recorded 2, here 1"),
    "dataset": (input_of("dataset"), "dataset data/train.jsonl: recorded 000000000000…"),
    "dataset as checked": (setting("0" * 64, "validation", "dataset", "sha256"), "dataset: recorded 000000000000…"),
    "records to evaluate": (input_of("data_file"), "data_file data/eval.jsonl: recorded 000000000000…"),
    "a file of the base model": (
        setting("0" * 64, "training", "base_model", "identity", "files", "model.safetensors"),
        "base model model.safetensors: recorded 000000000000…",
    ),
    "code of the task": (setting("0" * 64, "training_inputs", "plugins", "task"),
                         "code of the task: recorded 000000000000…"),
    "the digest alone": (setting("0" * 64, "digests", "training"), "training digest: recorded 000000000000…"),
}  # fmt: skip


@pytest.mark.parametrize("what", RECORD_EDITED)
def test_an_edited_record_is_named_by_what_was_edited_and_nothing_else_is(what: str, moved: Project, reproduce) -> None:
    change, expected = RECORD_EDITED[what]
    edit(moved, change)
    outcome = reproduce(moved)
    assert outcome.code == 7
    assert not outcome.found["replayed"]
    (said,) = outcome.said
    assert said.startswith(expected)


def test_all_inputs_that_differ_are_listed(moved: Project, capfd) -> None:
    change_a_byte(moved)
    moved.replace("lora.yaml", "seed: 7", "seed: 8")
    edit(moved, setting("2.12.0", "environment", "versions", "torch"))
    assert moved.run_here("reproduce") == 7
    *listed, last = capfd.readouterr().out.splitlines()
    assert [line.split(":")[0].split()[1:] for line in listed] == [
        ["dataset", "data/train.jsonl"],
        ["data.seed"],
        ["torch"],
    ]
    assert "3 inputs are not as recorded; nothing was replayed" in last


def test_comments_the_order_of_keys_and_what_shapes_no_result_do_not_stop_a_match(moved: Project, reproduce) -> None:
    text = (moved.root / "lora.yaml").read_text(encoding="utf-8").replace("logging_steps: 1", "logging_steps: 2")
    head, _, rest = text.partition("lora:\n")
    moved.write("lora.yaml", "# another order\nlora:\n" + rest + head)
    moved.replace("tests/test_data.py", "True", "1")
    outcome = reproduce(moved)
    assert (outcome.code, outcome.said) == (0, [])
    assert outcome.found["notes"] == ["without effect on the result: output.logging_steps: recorded 1, here 2"]


@pytest.mark.slow
def test_a_dataset_under_another_name_is_the_same_dataset(moved: Project, reproduce) -> None:
    (moved.root / "data/train.jsonl").rename(moved.root / "data/renamed.jsonl")
    moved.replace("pipeline.yaml", "train.jsonl", "renamed.jsonl")
    outcome = reproduce(moved)
    assert (outcome.code, outcome.said) == (0, [])


def test_anyway_replays_and_says_where_it_first_goes_another_way(moved: Project, reproduce) -> None:
    moved.replace("lora.yaml", "per_device_batch_size: 2", "per_device_batch_size: 4")
    outcome = reproduce(moved, "--anyway")
    assert outcome.code == 7
    assert outcome.found["replayed"]
    kinds = [each["kind"] for each in outcome.found["differences"]]
    assert kinds == ["setting", "plan", "step", "metric", "count", "tensor"]
    assert outcome.said[1] == "plan.steps: recorded 6, here 4"
    assert outcome.said[2].startswith("step 1, loss: recorded ")
    assert outcome.said[-1].startswith("tensor base_model.model.model.layers.0.self_attn.")
    assert "evaluation was not replayed, since training went another way" in outcome.found["notes"]


@pytest.mark.slow
def test_anyway_matches_where_the_changed_input_changes_no_bit(moved: Project, capfd) -> None:
    edit(moved, setting("9.0", "environment", "versions", "pytest"))
    assert moved.run_here("reproduce", "--anyway") == 0
    shown = capfd.readouterr().out
    assert "input    pytest: recorded 9.0, here " in shown
    assert "although 1 of its inputs differ" in shown


def edit_step_log(project: Project) -> None:
    log = next((project.root / "runs").glob("*/steps.jsonl"))
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    lines[3]["loss"] = 1.25
    log.write_text(jsonl(lines), encoding="utf-8")


def edit_adapter(project: Project) -> str:
    """Change the last tensor of the adapter; returns the file's new hash."""
    path = project.root / "adapter/adapter_model.safetensors"
    tensors = load_file(path)
    tensors[max(tensors)][0, 0] += 1
    save_file(tensors, path, metadata={"format": "pt"})
    return sha256_file(path)


def test_what_training_made_otherwise_is_named_plan_first_then_step_and_tensor(moved: Project, reproduce) -> None:
    edit_step_log(moved)
    edit(moved, setting(edit_adapter(moved), "training", "adapter_sha256"))
    edit(moved, setting(99, "plan", "tokens"))
    edit(moved, setting(1.0, "training", "metrics", "loss"))
    outcome = reproduce(moved)
    assert (outcome.code, outcome.found["replayed"]) == (7, True)
    expected = (
        "plan.tokens: recorded 99, here 364",
        "step 4, loss: recorded 1.25, here ",
        "training.loss: recorded 1.0, here ",
        "tensor base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight: recorded ",
    )
    assert [said[: len(begin)] for said, begin in zip(outcome.said, expected, strict=True)] == list(expected)
    assert "evaluation was not replayed, since training went another way" in outcome.found["notes"]


@pytest.mark.slow
def test_an_adapter_of_another_hash_is_named_by_it_where_its_tensors_are_gone(moved: Project, reproduce) -> None:
    edit(moved, setting("0" * 64, "training", "adapter_sha256"))
    (said,) = reproduce(moved).said
    assert said.startswith("adapter: recorded 000000000000…, here ")
    assert "the recorded adapter is gone" in said


def test_what_evaluation_made_otherwise_is_named_by_record_and_metric(moved: Project, reproduce) -> None:
    path = next((moved.root / "runs").glob("*/predictions.jsonl"))
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lines[2]["completion"] = "Tehran"
    path.write_text(jsonl(lines), encoding="utf-8")
    edit(moved, setting(sha256_file(path), "artifacts", "predictions", "sha256"))
    edit(moved, setting("0" * 64, "artifacts", "base_predictions", "sha256"))
    edit(moved, setting(0.5, "evaluation", "metrics", "token_f1"))
    outcome = reproduce(moved)
    assert (outcome.code, outcome.found["replayed"]) == (7, True)
    completion, base, metric = outcome.said
    assert completion.startswith(f"prediction of record {lines[2]['record_id']}, completion: recorded Tehran, here ")
    assert base.startswith("base_predictions: recorded 000000000000…, here ")
    assert metric == "evaluation.metrics.token_f1: recorded 0.5, here 0.0"


@pytest.mark.slow
def test_without_the_recorded_adapter_its_hash_is_enough_for_a_match(moved: Project, reproduce) -> None:
    shutil.rmtree(moved.root / "adapter")
    shutil.rmtree(moved.root / ".thinker")
    outcome = reproduce(moved)
    assert (outcome.code, outcome.said) == (0, [])
    assert not (moved.root / "adapter").exists()
    assert not (moved.root / ".thinker").exists()


def test_with_the_runs_folder_gone_changed_keys_of_the_recipe_are_still_named(moved: Project, reproduce) -> None:
    shutil.rmtree(record_path(moved).with_suffix(""))
    moved.replace("lora.yaml", "lora_alpha: 8", "lora_alpha: 16")
    outcome = reproduce(moved)
    assert outcome.said == ["lora.lora_alpha: recorded 8.0, here 16.0"]
    assert "config.resolved.json is gone" in outcome.found["notes"][0]


def test_a_missing_input_is_named(moved: Project, reproduce) -> None:
    (moved.root / "data/train.jsonl").unlink()
    outcome = reproduce(moved)
    assert outcome.code == 7
    assert outcome.said[0].startswith("dataset data/train.jsonl: recorded ")
    assert outcome.said[0].endswith("here no file")


def test_a_missing_pipeline_file_is_named_with_its_place(moved: Project, capfd) -> None:
    (moved.root / "pipeline.yaml").unlink()
    shutil.rmtree(record_path(moved).with_suffix(""))  # which names the folder that the project was copied from
    assert moved.run_here("reproduce", str(record_path(moved))) == 2
    assert f"the run's pipeline file is missing: {moved.root / 'pipeline.yaml'}" in capfd.readouterr().err


@pytest.mark.slow
def test_a_record_that_lies_elsewhere_is_replayed_in_the_current_folder(
    moved: Project, tmp_path: Path, reproduce
) -> None:
    copy = shutil.copy(record_path(moved), tmp_path / "sent-by-mail.json")
    shutil.rmtree(record_path(moved).with_suffix(""))
    outcome = reproduce(moved, str(copy))
    assert outcome.code == 0
    assert any("step log is gone" in note for note in outcome.found["notes"])


def test_a_run_that_did_not_succeed_is_refused(moved: Project, capfd) -> None:
    edit(moved, setting("failed", "status"))
    assert moved.run_here("reproduce") == 2
    assert "has status 'failed': only a run that succeeded can be reproduced" in capfd.readouterr().err


def test_overrides_are_the_records_own(trained: Project, capfd) -> None:
    assert trained.run_here("reproduce", "--set", "training.learning_rate=1") == 2
    assert "the run's own --set expressions are used" in capfd.readouterr().err


@pytest.mark.slow
def test_a_resumed_run_is_replayed_from_its_first_step(moved: Project, reproduce) -> None:
    edit(moved, setting("adapter/steps/x/checkpoint-2", "training", "resumed_from"))
    outcome = reproduce(moved)
    assert outcome.code == 0
    assert any("resumed from a checkpoint" in note for note in outcome.found["notes"])


def test_an_evaluation_is_replayed_with_the_adapter_of_then(moved: Project, reproduce) -> None:
    shutil.rmtree(moved.root / "runs")
    assert moved.run_here("eval", "-q", "--set", "training.learning_rate=0.02") == 0
    moved.replace("lora.yaml", "lora_alpha: 8", "lora_alpha: 16")  # of the next training
    before = tree_hashes(moved.root / "adapter")
    outcome = reproduce(moved)
    assert (outcome.code, outcome.said) == (0, [])
    assert "predictions" in outcome.found["made"]
    assert tree_hashes(moved.root / "adapter") == before
    edit_adapter(moved)
    (said,) = reproduce(moved).said
    assert said.startswith("adapter adapter/adapter_model.safetensors: recorded ")


@pytest.mark.slow
def test_an_evaluation_of_a_named_checkpoint_is_replayed_with_it(moved: Project, reproduce) -> None:
    shutil.rmtree(moved.root / "runs")
    (moved.root / "adapter").rename(moved.root / "kept")
    assert moved.run_here("eval", "-q", "--checkpoint", "kept") == 0
    outcome = reproduce(moved)
    assert (outcome.code, outcome.said) == (0, [])


def test_a_gate_is_compared_by_its_inputs_and_its_counts(moved: Project, reproduce) -> None:
    shutil.rmtree(moved.root / "runs")
    assert moved.run_here("validate", "-q") == 0
    before = contents(moved.root)
    assert reproduce(moved).code == 0
    assert contents(moved.root) == before
    edit(moved, setting(11, "validation", "dataset", "rows"))
    assert reproduce(moved).said == ["dataset.rows: recorded 11, here 10"]
    moved.replace("tests/test_data.py", "True", "1")
    (said,) = reproduce(moved).said
    assert said.startswith("tests/test_data.py: recorded ")


def test_a_gate_whose_receipt_is_gone_is_not_confirmed(moved: Project, reproduce) -> None:
    shutil.rmtree(moved.root / "runs")
    assert moved.run_here("validate", "-q") == 0
    shutil.rmtree(moved.root / ".thinker/receipts")
    (said,) = reproduce(moved).said
    assert said.startswith("receipt .thinker/receipts/")
    assert said.endswith("(no such file)")


def test_a_dry_run_is_compared_by_its_plan(moved: Project, reproduce) -> None:
    shutil.rmtree(moved.root / "runs")
    assert moved.run_here("run", "-q", "--dry-run", "--no-probe") == 0
    assert reproduce(moved).code == 0
    edit(moved, setting(7, "plan", "steps"))
    assert reproduce(moved).said == ["plan.steps: recorded 7, here 6"]


@pytest.mark.slow
def test_code_of_a_task_beside_the_pipeline_file_is_an_input(project: Project, reproduce) -> None:
    plugin = (
        "from thinker.tasks.prompt_completion import PromptCompletion\n\n\nclass Own(PromptCompletion):\n    pass\n"
    )
    project.write("own_task_to_reproduce.py", plugin)
    project.replace("pipeline.yaml", "task: prompt_completion", "task: own_task_to_reproduce:Own")
    assert project.run_here("train", "-q") == 0
    assert reproduce(project).code == 0
    project.write("own_task_to_reproduce.py", plugin + "    # another version\n")
    (said,) = reproduce(project).said
    assert said.startswith("task own_task_to_reproduce.py: recorded ")
