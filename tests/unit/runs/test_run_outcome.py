from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from thinker.runs.models import PlanRecord
from thinker.runs.outcome import (
    first_prediction_difference,
    first_step_difference,
    first_tensor_difference,
    plan_difference,
)

STEPS = [{"step": n, "loss": 2.0 / n, "learning_rate": 0.1, "grad_norm": 1.5, "seconds": n} for n in (1, 2, 3)]


def jsonl(path: Path, lines: Sequence[Mapping[str, object]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def steps(tmp_path: Path, changed: Mapping[int, Mapping[str, object]], start: int = 1) -> tuple[Path, Path]:
    """A recorded step log from step `start` on, and a replayed one with some figures changed."""
    recorded = [line for line in STEPS if line["step"] >= start]
    replayed = [line | changed.get(int(line["step"]), {}) for line in STEPS]
    return jsonl(tmp_path / "recorded.jsonl", recorded), jsonl(tmp_path / "replayed.jsonl", replayed)


def test_equal_steps_match_whatever_time_they_took(tmp_path: Path) -> None:
    assert first_step_difference(*steps(tmp_path, {2: {"seconds": 99}})) is None


def test_the_first_step_whose_loss_differs_by_one_bit_is_named_with_both_values(tmp_path: Path) -> None:
    other = float(np.nextafter(1.0, 2.0))
    found = first_step_difference(*steps(tmp_path, {2: {"loss": other}, 3: {"loss": 9.0}}))
    assert str(found) == f"step 2, loss: recorded 1.0, here {other}"


def test_a_gradient_norm_counts_as_much_as_a_loss(tmp_path: Path) -> None:
    found = first_step_difference(*steps(tmp_path, {3: {"grad_norm": 1.25}}))
    assert str(found) == "step 3, grad_norm: recorded 1.5, here 1.25"


def test_a_step_that_one_of_the_two_did_not_take_differs(tmp_path: Path) -> None:
    recorded, replayed = steps(tmp_path, {})
    jsonl(replayed, STEPS[:2])
    assert str(first_step_difference(recorded, replayed)).startswith("step 3, loss: recorded 0.666")


def test_a_log_that_begins_where_the_run_was_resumed_is_compared_from_there(tmp_path: Path) -> None:
    assert first_step_difference(*steps(tmp_path, {1: {"loss": 9.0}}, start=2)) is None


def test_a_line_cut_short_ends_the_comparison_with_a_difference_not_an_error(tmp_path: Path) -> None:
    recorded, replayed = steps(tmp_path, {})
    recorded.write_text(recorded.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    assert str(first_step_difference(recorded, replayed)).startswith("step 3, loss: recorded nothing")


def test_evaluation_losses_are_compared_where_both_logs_have_one(tmp_path: Path) -> None:
    recorded, replayed = steps(tmp_path, {})
    jsonl(recorded, [*STEPS, {"step": 1, "eval_loss": 3.0}, {"step": 2, "eval_loss": 2.0}])
    jsonl(replayed, [*STEPS, {"step": 2, "eval_loss": 2.5}])
    assert str(first_step_difference(recorded, replayed)) == "step 2, eval_loss: recorded 2.0, here 2.5"


def adapters(tmp_path: Path, **changed: np.ndarray) -> tuple[Path, Path]:
    """Two adapters, of which the second has some tensors changed."""
    tensors = {"layers.0.lora_A": np.ones((2, 3), np.float32), "layers.0.lora_B": np.zeros((3, 2), np.float32)}
    files = tmp_path / "recorded.safetensors", tmp_path / "replayed.safetensors"
    save_file(tensors, files[0])
    save_file({**tensors, **{f"layers.0.{name}": value for name, value in changed.items()}}, files[1])
    return files


def test_equal_tensors_do_not_differ(tmp_path: Path) -> None:
    assert first_tensor_difference(*adapters(tmp_path)) is None


def test_the_first_tensor_that_differs_is_named_with_how_far_apart_it_is(tmp_path: Path) -> None:
    changed = np.ones((2, 3), np.float32)
    changed[1, 2], changed[0, 0] = 1.5, 1.25
    found = first_tensor_difference(*adapters(tmp_path, lora_A=changed, lora_B=np.ones((3, 2), np.float32)))
    assert str(found) == "tensor layers.0.lora_A: recorded 1.0, here 1.5 (2 of 6 values differ, by 0.5 at most)"


def test_a_zero_of_the_other_sign_is_another_tensor(tmp_path: Path) -> None:
    found = first_tensor_difference(*adapters(tmp_path, lora_B=np.full((3, 2), -0.0, np.float32)))
    assert str(found) == "tensor layers.0.lora_B: recorded 0.0, here -0.0 (6 of 6 values differ, by 0 at most)"


def test_a_tensor_of_another_shape_or_that_only_one_adapter_has_is_named(tmp_path: Path) -> None:
    found = first_tensor_difference(*adapters(tmp_path, lora_B=np.zeros((3, 4), np.float32)))
    assert str(found) == "tensor layers.0.lora_B: recorded F32 [3, 2], here F32 [3, 4]"
    found = first_tensor_difference(*adapters(tmp_path, lora_0=np.zeros((1,), np.float32)))
    assert str(found) == "tensor layers.0.lora_0: recorded nothing, here F32 [1]"


def test_the_first_prediction_that_differs_is_named_by_its_record(tmp_path: Path) -> None:
    lines = [{"record_id": f"r{n}", "completion": "yes", "tokens": 1} for n in range(3)]
    recorded = jsonl(tmp_path / "recorded", lines)
    replayed = jsonl(tmp_path / "replayed", [lines[0], {**lines[1], "tokens": 2, "completion": "no"}, lines[2]])
    found = first_prediction_difference(recorded, replayed)
    assert str(found) == "prediction of record r1, completion: recorded yes, here no"
    assert first_prediction_difference(recorded, recorded) is None


def test_a_prediction_that_is_missing_is_named(tmp_path: Path) -> None:
    lines = [{"record_id": "r0", "completion": "yes"}, {"record_id": "r1", "completion": "no"}]
    found = first_prediction_difference(jsonl(tmp_path / "recorded", lines), jsonl(tmp_path / "replayed", lines[:1]))
    assert str(found) == "prediction of record r1: recorded no, here nothing"


def test_the_first_figure_of_the_plan_that_differs_is_named() -> None:
    plan = PlanRecord(steps=6, rows=10, held_out_rows=0, tokens=364, trained_tokens=112, longest_row_tokens=21)
    assert plan_difference(plan, plan) is None
    other = plan.model_copy(update={"rows": 9, "tokens": 300})
    assert str(plan_difference(plan, other)) == "plan.rows: recorded 10, here 9"
