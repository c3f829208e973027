"""A training that was interrupted goes on to the same bits, and its log tells each step once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.project import Project, make_project

# Two epochs of three steps, the last of each a short one; dropout, so that random generators matter.
RECIPE = [
    "lora.lora_dropout=0.1", "training.neftune_noise_alpha=5", "data.validation_split=0.1", "output.save_steps=1",
    "output.save_total_limit=null", "output.eval_steps=2", "training.load_best_model_at_end=true",
]  # fmt: skip
# A backend that sends its own process a signal after the step that a file names.
STOPPING = """
import signal
from transformers import TrainerCallback
from thinker.training.hf_peft.backend import HfPeftBackend

class Stop(TrainerCallback):
    def __init__(self, place):
        self.after = int(place.read_text()) if place.is_file() else None

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step + 1 == self.after:
            signal.raise_signal(signal.SIGTERM)

def create(config, context):
    return HfPeftBackend(context, callbacks=[Stop(config.config_path.with_name("stop.txt"))])
"""


def train(project: Project, *settings: str, options: tuple[str, ...] = ()) -> int:
    overrides = [part for setting in (*RECIPE, *settings) for part in ("--set", setting)]
    return project.run_here("train", "--skip-validation", *options, *overrides)


def folder_of(project: Project) -> Path:
    (folder,) = (project.root / "adapter/steps").iterdir()
    return folder


def logged(project: Project) -> list[dict[str, Any]]:
    """The newest run's step log, without what is measured."""
    log = project.root / "runs" / project.record()["run_id"] / "steps.jsonl"
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    exact = ("step", "epoch", "loss", "learning_rate", "grad_norm", "eval_loss")
    return [{name: line[name] for name in exact if name in line} for line in lines]


def trained(root: Path, model: Path, *settings: str) -> Project:
    project = make_project(root, model)
    assert train(project, *settings) == 0
    return project


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Project:
    """A project trained without an interruption."""
    return trained(tmp_path_factory.mktemp("whole") / "project", tiny_model)


BY_EPOCH = "output.eval_strategy=epoch"


@pytest.fixture(scope="module")
def by_epoch(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Project:
    """As `whole`, but evaluated after each epoch."""
    return trained(tmp_path_factory.mktemp("by-epoch") / "project", tiny_model, BY_EPOCH)


def left_at(whole: Project, step: int, root: Path) -> Project:
    """A copy of the project as it would be, had it been killed after `step`."""
    shutil.copytree(whole.root, root, ignore=shutil.ignore_patterns("runs", "adapter"))
    folder = root / "adapter/steps" / folder_of(whole).name
    for number in range(1, step + 1):
        shutil.copytree(folder_of(whole) / f"checkpoint-{number}", folder / f"checkpoint-{number}")
    return Project(root)


def require_same(resumed: Project, whole: Project) -> None:
    assert resumed.adapter_sha256() == whole.adapter_sha256()
    assert logged(resumed) == logged(whole)
    ours, theirs = resumed.record()["training"], whole.record()["training"]
    for name in ("loss", "eval_loss", "first_quarter_loss", "last_quarter_loss"):
        assert ours["metrics"][name] == theirs["metrics"][name]
    assert ours["steps"] == theirs["steps"] == 6


@pytest.mark.parametrize("step", [1, 6, *(pytest.param(step, marks=pytest.mark.slow) for step in (2, 3, 4, 5))])
def test_a_resumed_training_equals_one_that_was_never_interrupted(whole: Project, tmp_path: Path, step: int) -> None:
    """In the middle of an epoch, at its end, and between the last step and the adapter."""
    resumed = left_at(whole, step, tmp_path / "project")
    assert train(resumed) == 0
    assert resumed.record()["training"]["resumed_from"].endswith(f"/checkpoint-{step}")
    require_same(resumed, whole)


@pytest.mark.parametrize("step", [3, *(pytest.param(step, marks=pytest.mark.slow) for step in (2, 6))])
def test_no_evaluation_at_an_epochs_end_is_lost_or_told_twice(by_epoch: Project, tmp_path: Path, step: int) -> None:
    resumed = left_at(by_epoch, step, tmp_path / "project")
    assert train(resumed, BY_EPOCH) == 0
    require_same(resumed, by_epoch)
    assert [line["step"] for line in logged(resumed) if "eval_loss" in line] == [3, 6]


@pytest.fixture
def project(tmp_path: Path, tiny_model: Path) -> Project:
    made = make_project(tmp_path / "project", tiny_model)
    made.write("stopping.py", STOPPING)
    made.replace("pipeline.yaml", "backend: hf_peft", "backend: stopping:create")
    return made


def test_a_signal_saves_after_the_step_in_hand_and_the_next_training_goes_on(
    project: Project, whole: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    project.write("stop.txt", "2")
    assert train(project, "output.save_steps=100") == 130
    said = capfd.readouterr().err
    assert "[thinker] warning: interrupted: training ends after this optimizer step" in said
    assert "[thinker] interrupted" in said
    record = project.record()
    assert (record["status"], record["exit_code"]) == ("interrupted", 130)
    assert record["error"]["message"] == "interrupted after step 2 of 6, which a checkpoint holds"
    assert [path.name for path in folder_of(project).iterdir()] == ["checkpoint-2"]
    (project.root / "stop.txt").unlink()
    assert train(project) == 0
    assert "going on after step 2 of 6" in capfd.readouterr().err
    saved = {path.name for path in folder_of(project).glob("checkpoint-*")}
    assert saved == {f"checkpoint-{step}" for step in (2, 3, 4, 5, 6)}, "every step, as is asked for now"
    assert project.adapter_sha256() == whole.adapter_sha256(), "which saved at other steps"


def test_a_training_that_was_ended_early_takes_no_step_more(project: Project) -> None:
    """Killed after its last checkpoint, and before the adapter was saved."""
    early = ["output.eval_steps=1", "training.early_stopping_patience=1", "training.early_stopping_threshold=100"]
    assert train(project, *early) == 0
    before, lines = project.adapter_sha256(), logged(project)
    (folder_of(project) / "trainings.json").unlink()
    assert train(project, *early) == 0
    record = project.record()["training"]
    assert record["resumed_from"].endswith("/checkpoint-2")
    assert record["steps"] == 2
    assert project.adapter_sha256() == before
    assert logged(project) == lines


def test_a_signal_in_the_last_step_of_an_epoch_waits_for_its_evaluation(project: Project) -> None:
    project.write("stop.txt", "3")
    assert train(project, "output.eval_strategy=epoch", "output.save_strategy=no") == 130
    assert [line["step"] for line in logged(project) if "eval_loss" in line] == [3]


def test_a_finished_training_is_not_resumed_but_trained_anew(
    whole: Project, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    again = left_at(whole, 6, tmp_path / "project")
    shutil.copy(folder_of(whole) / "trainings.json", folder_of(again))
    assert train(again) == 0
    said = capfd.readouterr().err
    assert "this recipe was trained to its end here before" in said
    assert "step 1/6" in said
    assert again.record()["training"]["resumed_from"] is None
    require_same(again, whole)


def test_fresh_trains_anew_and_leaves_what_it_does_not_write_itself(whole: Project, tmp_path: Path) -> None:
    project = left_at(whole, 4, tmp_path / "project")
    mine = project.write("adapter/notes.txt", "mine")
    assert train(project, "output.save_steps=100", options=("--fresh",)) == 0
    assert project.record()["training"]["resumed_from"] is None
    require_same(project, whole)
    there = {path.name for path in folder_of(project).glob("checkpoint-*")}
    assert there == {f"checkpoint-{step}" for step in (1, 2, 3, 4, 6)}
    assert mine.is_file()


def test_no_row_of_a_skipped_step_is_read(whole: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from thinker.training.hf_peft import loader

    steps: list[int] = []
    read = loader._Batches.__getitem__

    def noted(self: Any, place: loader.MicroBatch) -> Any:
        steps.append(len(place.step_rows))
        return read(self, place)

    monkeypatch.setattr(loader._Batches, "__getitem__", noted)
    assert train(left_at(whole, 2, tmp_path / "project")) == 0
    assert steps == [1, 4, 4, 4, 4, 1], "one micro-batch is left of the first epoch, five of the second"


def test_a_damaged_checkpoint_is_told_and_the_one_before_it_taken(
    whole: Project, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    project = left_at(whole, 3, tmp_path / "project")
    state = folder_of(project) / "checkpoint-3/optimizer.pt"
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    assert train(project) == 0
    said = capfd.readouterr().err
    assert "checkpoint-3 is damaged: optimizer.pt has other contents than were written; it is passed over" in said
    assert "going on after step 2 of 6" in said
    assert any("optimizer.pt" in warning for warning in project.record()["warnings"])
    require_same(project, whole)
