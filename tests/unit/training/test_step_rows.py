"""The rows of a step: their work, and where to find them."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from support.project import Project
from support.training_context import row, training_context

from thinker.training.hf_peft.performance import PhaseClock
from thinker.training.hf_peft.step_log import StepLog
from thinker.training.step_rows import StepRows
from thinker.training.workload import Dimensions

SIZE = Dimensions(
    vocabulary=10, layers=1, attention_width=4, linear_parameters=100, head_parameters=40, base_parameters=0,
    base_bytes=0, trained_parameters=0,
)  # fmt: skip


def step_rows(project: Project, *overrides: str) -> StepRows:
    lengths = (8, 20, 9, 11, 6)
    return StepRows(training_context(project, [row(n) for n in lengths], "data.shuffle=false", *overrides), SIZE)


def test_a_steps_work_is_that_of_its_rows_whatever_they_are_padded_to(project: Project) -> None:
    work = step_rows(project, "training.per_device_batch_size=2", "training.gradient_accumulation_steps=1").work(0)
    assert (work.tokens, work.trained_tokens) == (28, 8)
    # Matrices 4 a token and weight, attention's products 12, the head 4 a trained token.
    expected = 4 * 100 * 28 + 12 * 4 * (8**2 + 20**2) + 4 * 40 * 8
    assert work.flops == expected


def test_rows_are_found_by_file_and_line_past_blank_lines_and_in_the_next_file(project: Project) -> None:
    project.write("data/a.jsonl", '{"prompt": "a", "completion": "b"}\n\n{"prompt": "c", "completion": "d"}\n')
    project.write("data/b.jsonl", '\n{"prompt": "e", "completion": "f"}\n')
    project.replace("pipeline.yaml", "path: data/train.jsonl", "path: [data/a.jsonl, data/b.jsonl]")
    rows = step_rows(project, "training.per_device_batch_size=3", "training.gradient_accumulation_steps=1")
    places = [place.rpartition("data/")[2] for place in rows.places(0).split(", ")]
    assert places == ["a.jsonl:1", "a.jsonl:3", "b.jsonl:2"]


def test_rows_that_are_there_no_more_are_told_by_number(project: Project) -> None:
    rows = step_rows(project, "training.per_device_batch_size=5")
    project.write("data/train.jsonl", '{"prompt": "a", "completion": "b"}\n')
    assert [place.rpartition("/")[2] for place in rows.places(0).split(", ")] == [
        "train.jsonl:1", "row 2", "row 3", "row 4", "row 5",
    ]  # fmt: skip


def test_of_many_rows_the_first_are_told(project: Project) -> None:
    context = training_context(project, [row(8)] * 20, "training.per_device_batch_size=20")
    assert StepRows(context, SIZE).places(0).endswith(" and 4 more")


def test_a_gradient_without_end_stops_training_as_a_loss_does(project: Project) -> None:
    rows = step_rows(project)
    bar = SimpleNamespace(advance=lambda **figures: None)
    log = StepLog(project.root / "run", bar, rows.context.plan, rows, PhaseClock(torch.device("cpu")))
    trainer = SimpleNamespace(
        take_step_loss=lambda: 1.0, last_grad_norm=math.inf, accelerator=SimpleNamespace(scaler=None)
    )
    log.trainer = trainer  # type: ignore[assignment]
    state = SimpleNamespace(global_step=1, max_steps=3)
    with pytest.raises(FloatingPointError, match=r"norm of the gradient is inf at step 1 of 3: .*train\.jsonl:1, "):
        log.on_step_end(SimpleNamespace(logging_steps=1), state, None)
    trainer.accelerator.scaler = object()  # float16: the step is left out, and training goes on
    log.on_step_end(SimpleNamespace(logging_steps=1), state, None)


@pytest.mark.parametrize(
    ("settings", "evaluations"),
    [(["output.eval_steps=2"], 3), (["output.eval_strategy=epoch"], 2), (["output.eval_strategy='no'"], 1)],
)
def test_evaluations_are_counted_by_their_strategy(project: Project, settings: list[str], evaluations: int) -> None:
    from thinker.training.workload import workload

    context = training_context(
        project, [row(8)] * 6, "data.validation_split=0.2", "training.gradient_accumulation_steps=1", *settings,
        held_out=1,
    )  # fmt: skip
    assert len(context.plan) == 6
    assert workload(context).evaluations == evaluations
