"""What a replay made, held against what the run made: plan, steps, adapter, predictions, metrics, in this order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from thinker.hashing import sha256_file
from thinker.runs.differences import Difference, Kind, differing_keys
from thinker.runs.models import PlanRecord, RunRecord
from thinker.runs.origin import RecordedRun

_STEP_FIGURES: Final = ("loss", "eval_loss", "learning_rate", "grad_norm")
_TRAINING_COUNTS: Final = (
    "steps", "rows", "held_out_rows", "dropped_rows", "tokens", "trained_tokens", "stopped_early", "best_step",
    "best_saved",
)  # fmt: skip


def plan_difference(recorded: PlanRecord, replayed: PlanRecord) -> Difference | None:
    """The first figure of the plan that differs."""
    found = differing_keys("plan", _named("plan", recorded.model_dump()), _named("plan", replayed.model_dump()))
    return next(iter(found), None)


def training_differences(run: RecordedRun, replayed: RunRecord, adapter: Path) -> tuple[list[Difference], list[str]]:
    """The first step, figure and tensor that differ, and notes on what could not be compared.

    Args:
        run: the record.
        replayed: the replay's.
        adapter: weights that the replay made.
    """
    before, now = run.record.training, replayed.training
    if before is None or now is None:
        return [], []
    notes: list[str] = []
    found: list[Difference | None] = []
    steps, here = run.artifact("step_log"), _artifact(replayed, "step_log")
    if steps is None or not steps.is_file():
        notes.append("the steps were not compared: the run's step log is gone")
    elif here is not None:
        found.append(first_step_difference(steps, here))
    figures = {name: value for name, value in before.metrics.items() if "loss" in name}
    figures |= {"loss_first_quarter": before.loss_first_quarter, "loss_last_quarter": before.loss_last_quarter}
    seen = {**now.metrics, "loss_first_quarter": now.loss_first_quarter, "loss_last_quarter": now.loss_last_quarter}
    found.append(_first("metric", "training", figures, {name: seen.get(name) for name in figures}))
    counts = {name: getattr(before, name) for name in _TRAINING_COUNTS}
    found.append(_first("count", "training", counts, {name: getattr(now, name) for name in _TRAINING_COUNTS}))
    if before.adapter_sha256 != now.adapter_sha256:
        found.append(_adapter_difference(run, before.adapter_sha256, now.adapter_sha256, adapter))
    return [each for each in found if each], notes


def first_step_difference(recorded: Path, replayed: Path) -> Difference | None:
    """The first step in which a loss, learning rate or gradient norm differs by a single bit.

    A log that begins later (of a run that was resumed) is compared from there on; evaluation losses are where both
    logs have one, since when they are computed may change no bit of the adapter.
    """
    before, now = _step_figures(recorded), _step_figures(replayed)
    first = min((step for step, _ in before), default=0)
    now = {key: value for key, value in now.items() if key[0] >= first}
    for step, figure in sorted({*before, *now}, key=lambda key: (key[0], _STEP_FIGURES.index(key[1]))):
        was, found = before.get((step, figure)), now.get((step, figure))
        told = figure != "eval_loss" or ((step, figure) in before and (step, figure) in now)
        if was != found and told:
            return Difference("step", f"step {step}, {figure}", was, found)
    return None


def _step_figures(log: Path) -> dict[tuple[int, str], float | None]:
    figures: dict[tuple[int, str], float | None] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            figures |= {(int(entry["step"]), name): entry[name] for name in _STEP_FIGURES if name in entry}
        except (ValueError, LookupError, TypeError):  # a line cut short says nothing
            continue
    return figures


def _adapter_difference(run: RecordedRun, before: str | None, now: str | None, replayed: Path) -> Difference:
    """The first tensor that differs, as long as the recorded adapter is still there; else the two hashes."""
    from thinker.training.hf_peft.artifacts import ADAPTER_WEIGHTS

    assert run.record.training is not None, "an adapter comes from training"
    recorded = run.place(run.record.training.checkpoint_dir) / ADAPTER_WEIGHTS
    if not recorded.is_file() or sha256_file(recorded) != before:
        return Difference("tensor", "adapter", before, now, "the recorded adapter is gone, so no tensor can be named")
    tensor = first_tensor_difference(recorded, replayed)
    if tensor is None:
        return Difference("tensor", "adapter", before, now, "all tensors are equal, the files' headers are not")
    return tensor


def first_tensor_difference(recorded: Path, replayed: Path) -> Difference | None:
    """The first tensor by name whose bits differ, with how far apart the two are."""
    from safetensors import safe_open

    with safe_open(str(recorded), framework="pt") as before, safe_open(str(replayed), framework="pt") as now:
        for name in sorted({*before.keys(), *now.keys()}):
            shapes = [_shape(file, name) for file in (before, now)]
            if shapes[0] != shapes[1]:
                return Difference("tensor", f"tensor {name}", shapes[0], shapes[1])
            one, other = before.get_tensor(name).flatten(), now.get_tensor(name).flatten()
            unlike = (_bytes(one) != _bytes(other)).any(dim=-1)
            if not unlike.any():
                continue
            apart = (one.double() - other.double()).abs()
            first = int(apart.argmax() if apart.max() > 0 else unlike.long().argmax())
            detail = f"{int(unlike.sum()):,} of {one.numel():,} values differ, by {float(apart.max()):.3g} at most"
            return Difference("tensor", f"tensor {name}", float(one[first]), float(other[first]), detail)
    return None


def _bytes(tensor: Any) -> Any:
    """uint8[N, bytes of an element]: compares zeros of either sign, and NaN, by their bits."""
    import torch

    return tensor.contiguous().view(torch.uint8).reshape(tensor.numel(), -1)


def _shape(file: Any, name: str) -> str | None:
    if name not in file.keys():  # noqa: SIM118 - it is no dictionary
        return None
    tensor = file.get_slice(name)
    return f"{tensor.get_dtype()} {tensor.get_shape()}"


def evaluation_differences(run: RecordedRun, replayed: RunRecord) -> tuple[list[Difference], list[str]]:
    """The first prediction and the first metric that differ, and notes on what could not be compared."""
    before, now = run.record.evaluation, replayed.evaluation
    if before is None or now is None:
        return [], []
    found: list[Difference | None] = []
    notes = []
    for name in ("predictions", "base_predictions"):
        if name not in run.record.artifacts:
            continue
        recorded, here = run.artifact(name), _artifact(replayed, name)
        sha256 = run.record.artifacts[name].sha256
        if here is None or sha256_file(here) != sha256:
            found.append(_prediction_difference(name, sha256, recorded, here))
        elif recorded is None or not recorded.is_file() or sha256_file(recorded) != sha256:
            notes.append(f"the run's {name} file is gone or was changed; the replay's is the one on record")
    found.append(_first("metric", "evaluation.metrics", before.metrics, now.metrics))
    found.append(_first("metric", "evaluation.base_metrics", before.base_metrics or {}, now.base_metrics or {}))
    counts = (
        {
            "records": section.records,
            "confusion": section.confusion,
            "adapter": section.adapter and section.adapter.sha256,
        }
        for section in (before, now)
    )
    found.append(_first("count", "evaluation", *counts))
    return [each for each in found if each], notes


def _prediction_difference(name: str, sha256: str, recorded: Path | None, here: Path | None) -> Difference:
    now = sha256_file(here) if here else None
    whole = Difference("prediction", name, sha256, now)
    if recorded is None or here is None or not recorded.is_file() or sha256_file(recorded) != sha256:
        return whole
    return first_prediction_difference(recorded, here) or whole


def first_prediction_difference(recorded: Path, replayed: Path) -> Difference | None:
    """The first line of two predictions files that differs, by record and key."""
    for number, (before, now) in enumerate(zip_longest(_lines(recorded), _lines(replayed)), start=1):
        if before == now:
            continue
        if before is None or now is None:
            which = (before or now or {}).get("record_id", number)
            return Difference("prediction", f"prediction of record {which}", _completion(before), _completion(now))
        keys = differing_keys("prediction", before, now)
        first = next((each for each in keys if each.name == "completion"), keys[0])
        name = f"prediction of record {before.get('record_id', number)}, {first.name}"
        return Difference("prediction", name, first.recorded, first.here)
    return None


def _completion(prediction: Mapping[str, Any] | None) -> Any:
    return None if prediction is None else prediction.get("completion")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)


def _first(kind: Kind, where: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Difference | None:
    return next(iter(differing_keys(kind, _named(where, before), _named(where, now))), None)


def _named(where: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{where}.{name}": value for name, value in values.items()}


def _artifact(replayed: RunRecord, name: str) -> Path | None:
    """A file of the replay: its paths are absolute."""
    return Path(replayed.artifacts[name].path) if name in replayed.artifacts else None
