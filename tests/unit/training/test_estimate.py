"""What is said of training before its first step: from the plan, from the formula, from a probe, from one kept."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.project import Project
from support.training_context import row, training_context

from thinker.errors import ConfigError, TrainingError
from thinker.modeling import memory
from thinker.training import probe
from thinker.training.base import TrainingContext
from thinker.training.estimate import Estimate, estimate, memory_warnings, refined
from thinker.training.hf_peft.memory import prepare_estimate
from thinker.training.probe import ProbeResult
from thinker.training.workload import MicroBatch, workload

RESULT = ProbeResult(libraries_bytes=500, peak_bytes=1700, device_bytes=None, pass_seconds=2.0, optimizer_seconds=0.5)


@pytest.fixture
def context(project: Project) -> TrainingContext:
    return training_context(project, [row(length) for length in (12, 30, 7, 19, 25, 8)])


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[MicroBatch]:
    """Probes that cost nothing and find `RESULT`; the micro-batches that they were asked for."""
    asked: list[MicroBatch] = []

    def answer(context: TrainingContext, batch: MicroBatch) -> ProbeResult:
        asked.append(batch)
        return RESULT

    monkeypatch.setattr(probe, "run_probe", answer)
    return asked


def test_the_formula_says_memory_and_no_time(context: TrainingContext) -> None:
    found = estimate(context, probe=False)
    assert (found.steps, found.tokens, found.source, found.seconds) == (4, 2 * 101, "formula", None)
    assert found.peak_memory_bytes == sum(found.memory_parts.values()) > 0
    assert found.device_memory_bytes is None
    assert found.notes == ()


def test_a_probe_stands_in_for_all_computed_memory_but_the_libraries_of_this_process(
    context: TrainingContext, probed: list[MicroBatch]
) -> None:
    found = estimate(context, probe=True)
    assert found.source == "probe"
    assert found.memory_parts["probed"] == 1200
    assert found.memory_parts["libraries"] == pytest.approx(memory.resident_bytes(), rel=0.2)
    assert [batch.shape.longest for batch in probed] == [30]


def test_time_is_shared_out_by_work_and_the_optimizer_paid_for_each_step(context: TrainingContext) -> None:
    work = workload(context)
    prepared = prepare_estimate(context, work)
    alike = replace(prepared, work=replace(work, micro_batches=(prepared.heaviest,) * 12))
    found = refined(Estimate(4, 0, 0), RESULT, alike, kernels=0)
    assert found.seconds == pytest.approx(12 * 2.0 + 4 * 0.5)
    lighter = refined(Estimate(4, 0, 0), RESULT, prepared, kernels=0)
    assert lighter.seconds is not None
    assert 4 * 0.5 < lighter.seconds < found.seconds


def test_evaluation_losses_take_time(context: TrainingContext) -> None:
    work = workload(context)
    prepared = prepare_estimate(context, work)
    without = refined(Estimate(4, 0, 0), RESULT, prepared, kernels=0)
    evaluating = replace(work, held_out=(prepared.heaviest,), evaluations=3)
    found = refined(Estimate(4, 0, 0), RESULT, replace(prepared, work=evaluating), kernels=0)
    assert found.seconds is not None
    assert without.seconds is not None
    assert 0 < found.seconds - without.seconds <= 3 * 2.0


def test_kernels_for_shapes_that_the_probe_has_not_seen_are_added(context: TrainingContext) -> None:
    prepared = prepare_estimate(context, workload(context))
    parts = [refined(Estimate(4, 0, 0), RESULT, prepared, kernels=count).memory_parts for count in (0, 1, 2)]
    assert "kernels" not in parts[0]
    assert parts[2]["kernels"] == 2 * parts[1]["kernels"] > 0


def test_a_probe_is_kept_for_its_training_fingerprint(context: TrainingContext, probed: list[MicroBatch]) -> None:
    found = estimate(context, probe=True)
    kept = estimate(context, probe=False)
    assert replace(kept, memory_parts={}) == replace(found, memory_parts={})
    assert kept.memory_parts["probed"] == found.memory_parts["probed"]
    assert len(probed) == 1
    other = replace(context, training_fingerprint="e" * 64)
    assert estimate(other, probe=False).source == "formula"


def test_a_later_probe_replaces_the_kept_one(
    context: TrainingContext, probed: list[MicroBatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    estimate(context, probe=True)
    monkeypatch.setattr(probe, "run_probe", lambda context, batch: replace(RESULT, peak_bytes=1800))
    estimate(context, probe=True)
    assert estimate(context, probe=False).memory_parts["probed"] == 1300


@pytest.mark.parametrize("text", ["", "{}", '{"steps": 1, "tokens": "many", "trained_tokens": 1}', "[]"])
def test_a_damaged_kept_probe_is_no_probe(context: TrainingContext, probed: list[MicroBatch], text: str) -> None:
    estimate(context, probe=True)
    next((context.cache_dir / "probes").glob("*/estimate.json")).write_text(text, encoding="utf-8")
    assert estimate(context, probe=False).source == "formula"


def test_a_probe_that_fails_leaves_the_formula_and_says_why(
    context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(context: TrainingContext, batch: MicroBatch) -> ProbeResult:
        raise TrainingError("the probe failed: no room")

    monkeypatch.setattr(probe, "run_probe", fail)
    found = estimate(context, probe=True)
    assert (found.source, found.seconds, found.notes) == ("formula", None, ("the probe failed: no room",))
    assert found.peak_memory_bytes
    assert not (context.cache_dir / "probes").exists()


def test_a_model_that_is_not_there_costs_memory_and_time_alone(project: Project, tmp_path: Path) -> None:
    context = training_context(project, [row(9)])
    context = replace(context, experiment=replace(context.experiment, base_model=str(tmp_path / "nowhere")))
    found = estimate(context, probe=True)
    assert (found.tokens, found.source, found.peak_memory_bytes) == (18, None, None)
    assert len(found.notes) == 1
    assert "cannot be loaded" in found.notes[0]


def test_another_backend_is_given_steps_and_tokens(project: Project) -> None:
    plugin = project.write("own_backend.py", "def create(config, context): ...\n")
    assert plugin.is_file()
    project.replace("pipeline.yaml", "backend: hf_peft", "backend: own_backend:create")
    found = estimate(training_context(project, [row(9)]), probe=True)
    assert (found.steps, found.tokens, found.source, found.device) == (2, 18, None, None)
    assert found.notes == ("backend own_backend:create: memory and time are not estimated",)


def test_memory_that_is_not_free_is_told_with_the_keys_to_lower(
    context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = replace(Estimate(1, 1, 1), device="cpu", memory_parts={"libraries": 10**9, "probed": 3 * 10**9})
    monkeypatch.setattr(memory, "free_bytes", lambda: 4 * 10**9)
    assert memory_warnings(found, context) == []
    monkeypatch.setattr(memory, "free_bytes", lambda: 2 * 10**9)
    (line,) = memory_warnings(found, context)
    assert line == (
        "training needs about 3.0 GB of memory beyond what is taken now, and 2.0 GB are free: lower "
        "training.per_device_batch_size (now 2) or training.max_seq_length (the longest row has 30 tokens), or set "
        "training.gradient_checkpointing: true or model.quantization: 4bit"
    )


def test_the_accelerators_memory_is_looked_at_by_itself(
    context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = replace(Estimate(1, 1, 1), device="cuda:0", device_parts={"weights": 3 * 10**9})
    monkeypatch.setattr(memory, "free_device_bytes", lambda device: 2 * 10**9)
    (line,) = memory_warnings(found, context)
    assert "3.0 GB of memory on cuda:0" in line


def test_a_recipe_that_training_would_refuse_is_refused_before_the_model_is_loaded(project: Project) -> None:
    context = training_context(project, [row(8)], "lora.rank_pattern={nope: 2}")
    with pytest.raises(ConfigError, match="no adapted layer is called 'nope'"):
        estimate(context, probe=False)
