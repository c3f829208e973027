"""Early stopping, the best adapter, strategies, the step log, the performance report, divergence: whole trainings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.project import Project, make_project

# With this learning rate the evaluation loss falls for six steps and then leaps.
RISING = [
    "data.validation_split=0.2", "output.eval_steps=1", "training.num_epochs=8", "training.learning_rate=5e-2",
    "training.lr_scheduler_type=constant",
]  # fmt: skip
STOPPING = [*RISING, "training.early_stopping_patience=2", "training.load_best_model_at_end=true"]


def train(project: Project, *settings: str) -> dict[str, Any]:
    options = [part for setting in settings for part in ("--set", setting)]
    assert project.run_here("train", "-q", "--skip-validation", *options) == 0
    found: dict[str, Any] = project.record()["training"]
    return found


def logged(project: Project) -> list[dict[str, Any]]:
    log = project.root / "runs" / project.record()["run_id"] / "steps.jsonl"
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def evaluations(project: Project) -> dict[int, float]:
    return {line["step"]: line["eval_loss"] for line in logged(project) if "eval_loss" in line}


def checkpoints(project: Project) -> set[str]:
    return {path.name for path in project.root.glob("adapter/steps/*/checkpoint-*")}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Project:
    """Trained until two evaluations brought no gain."""
    project = make_project(tmp_path_factory.mktemp("stopped") / "project", tiny_model)
    train(project, *STOPPING)
    return project


def test_early_stopping_ends_training_after_so_many_evaluations_without_gain(stopped: Project) -> None:
    losses = list(evaluations(stopped).values())
    best = losses.index(min(losses))
    assert len(losses) == best + 1 + 2 < 16
    training = stopped.record()["training"]
    assert training["stopped_early"]
    assert training["steps"] == len(losses)
    assert training["epochs"] == len(losses) / 2
    lengths = [line["tokens"] for line in logged(stopped) if "loss" in line]
    assert training["tokens"] == sum(lengths)


def test_the_best_adapter_is_that_of_a_training_which_ends_there(stopped: Project, project: Project) -> None:
    training = stopped.record()["training"]
    losses = evaluations(stopped)
    assert training["best_saved"]
    assert losses[training["best_step"]] == min(losses.values()) == training["metrics"]["eval_loss"]
    assert training["best_step"] < training["steps"]
    train(project, *RISING, f"training.max_steps={training['best_step']}")
    assert project.adapter_sha256() == stopped.adapter_sha256()


def test_without_asking_for_the_best_the_last_adapter_is_saved(stopped: Project, project: Project) -> None:
    training = train(project, *STOPPING, "training.load_best_model_at_end=false")
    assert not training["best_saved"]
    assert training["best_step"] == stopped.record()["training"]["best_step"]
    assert training["metrics"]["eval_loss"] == list(evaluations(project).values())[-1]
    assert project.adapter_sha256() != stopped.adapter_sha256()


def test_each_line_of_the_step_log_has_the_steps_figures(stopped: Project) -> None:
    steps = [line for line in logged(stopped) if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, len(steps) + 1))
    for line in steps:
        assert set(line) == {
            "step", "epoch", "loss", "learning_rate", "grad_norm", "tokens", "trained_tokens", "seconds",
            "tokens_per_second", "memory_bytes",
        }  # fmt: skip
        assert 0 < line["trained_tokens"] < line["tokens"]
        assert line["tokens_per_second"] == pytest.approx(line["tokens"] / line["seconds"], rel=1e-2)
        assert line["memory_bytes"] > 50e6


def test_the_record_says_how_fast_training_was_and_where_its_time_went(stopped: Project) -> None:
    record = stopped.record()
    found = record["training"]["performance"]
    steps = [line for line in logged(stopped) if "loss" in line]
    seconds = found["seconds"]
    of_steps = seconds["data"] + seconds["forward_backward"] + seconds["optimizer"]
    assert sum(line["seconds"] for line in steps) == pytest.approx(of_steps, rel=1e-3)
    assert found["steps"] == len(steps)
    assert found["tokens_per_second"] == pytest.approx(record["training"]["tokens"] / of_steps, rel=1e-3)
    assert found["trained_tokens_per_second"] < found["tokens_per_second"]
    assert found["flops_per_second"] > 1e6
    assert (found["mfu"], found["peak_flops"], found["peak_device_memory_bytes"]) == (None, None, None)
    assert found["peak_memory_bytes"] > 50e6
    assert all(seconds[phase] > 0 for phase in ("load", "start", "evaluation", "saving"))
    assert sum(seconds.values()) <= record["timings_s"]["train"]


def test_the_summary_tells_the_best_step_and_the_speed(stopped: Project, capsys: pytest.CaptureFixture[str]) -> None:
    from thinker.cli.show import show_outcome
    from thinker.runs.listing import load_record

    show_outcome(load_record("latest", stopped.root / "runs"))
    shown = capsys.readouterr().out
    training = stopped.record()["training"]
    assert f"best      step {training['best_step']}, evaluation loss" in shown
    assert "speed     " in shown
    assert "tokens/s, " in shown
    assert "memory    peak 0." in shown
    assert "MFU" not in shown


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("output.eval_strategy=epoch", [3, 6]), ("output.eval_strategy='no'", [6]), ("output.eval_steps=4", [4, 6])],
)
def test_the_evaluation_loss_comes_as_its_strategy_says_and_at_the_end(
    project: Project, setting: str, expected: list[int]
) -> None:
    training = train(project, "data.validation_split=0.1", setting)
    assert list(evaluations(project)) == expected
    assert training["metrics"]["eval_loss"] == evaluations(project)[6]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("output.save_strategy=epoch", {"checkpoint-3", "checkpoint-6"}), ("output.save_strategy='no'", set())],
)
def test_checkpoints_come_as_their_strategy_says(project: Project, setting: str, expected: set[str]) -> None:
    train(project, setting)
    assert checkpoints(project) == expected


def test_a_schedule_that_follows_the_evaluation_loss_lowers_the_rate_where_it_rises(project: Project) -> None:
    train(
        project, *RISING[:4], "training.lr_scheduler_type=reduce_lr_on_plateau",
        "training.lr_scheduler_kwargs={patience: 0, factor: 0.1, threshold: 0.0}",
    )  # fmt: skip
    losses = evaluations(project)
    rates = {line["step"]: line["learning_rate"] for line in logged(project) if "loss" in line}
    first_rise = next(step for step in losses if step > 1 and losses[step] >= min(losses[s] for s in range(1, step)))
    assert {rates[step] for step in range(1, first_rise + 1)} == {0.05}
    assert rates[first_rise + 1] == pytest.approx(0.005)


def test_noise_on_embeddings_changes_the_adapter(project: Project) -> None:
    train(project, "training.neftune_noise_alpha=5")
    noisy = project.adapter_sha256()
    train(project)
    assert project.adapter_sha256() != noisy


def test_a_loss_that_is_no_number_names_the_rows_of_its_step_and_leaves_the_checkpoints(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = ["training.learning_rate=1e30", "output.save_steps=1", "data.shuffle=false"]
    options = [part for setting in settings for part in ("--set", setting)]
    assert project.run_here("train", "--skip-validation", *options) == 5
    said = capfd.readouterr().err
    assert "is nan at step 2 of 6: training diverged; lower training.learning_rate" in said
    assert said.rstrip().count("data/train.jsonl:") >= 4
    assert "data/train.jsonl:5, data/train.jsonl:6, data/train.jsonl:7, data/train.jsonl:8\n" in said
    assert checkpoints(project) == {"checkpoint-1"}
    assert not (project.root / "adapter/adapter_model.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting",
    ["lora.use_rslora=true", "lora.use_dora=true", "lora.init_lora_weights=gaussian", "lora.init_lora_weights=pissa",
     "training.optim=adamw_8bit", "training.optim=lion_32bit", "training.adam_beta2=0.5", "training.adam_epsilon=0.1",
     "training.warmup_ratio=0.5", "lora.rank_pattern={q_proj: 2}", "lora.modules_to_save=[lm_head]"],
)  # fmt: skip
def test_each_of_these_changes_the_adapter_and_gives_the_same_one_twice(
    project: Project, tmp_path: Path, tiny_model: Path, setting: str
) -> None:
    other = make_project(tmp_path / "other", tiny_model)
    train(project)
    plain = project.adapter_sha256()
    for each in (project, other):
        train(each, setting)
    assert project.adapter_sha256() == other.adapter_sha256() != plain


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [("lora.init_lora_weights=pissa_niter_4", "lora.use_dora=true", "lora.modules_to_save=[lm_head]"),
     ("lora.init_lora_weights=olora", "training.optim=adamw_8bit"),
     ("training.optim=ademamix_8bit", "training.neftune_noise_alpha=5"),
     (*RISING[:4], "training.lr_scheduler_type=reduce_lr_on_plateau", "training.lr_scheduler_kwargs={patience: 0}")],
    ids=lambda settings: settings[0],
)  # fmt: skip
def test_what_was_interrupted_goes_on_to_the_same_adapter(project: Project, settings: tuple[str, ...]) -> None:
    settings = (*settings, "output.save_steps=1", "output.save_total_limit=null")
    train(project, *settings)
    whole = project.adapter_sha256()
    (folder,) = (project.root / "adapter/steps").iterdir()
    kept = {"checkpoint-1", "checkpoint-2"}
    for left in [path for path in folder.iterdir() if path.name not in kept]:
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    assert train(project, *settings)["resumed_from"].endswith("checkpoint-2")
    assert project.adapter_sha256() == whole
