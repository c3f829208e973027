"""What each stage found, as sections of the run record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinker.config.experiment import Experiment
from thinker.hashing import sha256_file
from thinker.runs.files import spell_path
from thinker.runs.models import (
    AdapterRecord,
    BaseModelRecord,
    DatasetRecord,
    EstimatesRecord,
    EvaluationRecord,
    InputFile,
    Measurement,
    PerformanceRecord,
    PlanRecord,
    Prediction,
    Sampling,
    Settings,
    SuiteCounts,
    TrainingRecord,
    ValidationRecord,
)
from thinker.training.hf_peft.artifacts import ADAPTER_WEIGHTS

if TYPE_CHECKING:
    from thinker.data.prepare import PreparedData
    from thinker.evaluation.evaluator import EvaluationReport
    from thinker.modeling.memory import PeakMemory
    from thinker.training.base import TrainingReport
    from thinker.training.estimate import Estimate
    from thinker.training.performance import Performance
    from thinker.validation import DatasetValidationResult, TestSuiteResult
    from thinker.validation.receipt import StoredReceipt


def inputs(files: Iterable[tuple[str, Path]]) -> list[InputFile]:
    """The files read, with their roles and hashes."""
    return [
        InputFile.model_validate(
            {"role": role, "path": path, "sha256": sha256_file(path), "size_bytes": path.stat().st_size}
        )
        for role, path in files
    ]


def validation(
    *,
    suite: TestSuiteResult | None = None,
    dataset: DatasetValidationResult | None = None,
    failed: bool = False,
    skipped: bool = False,
) -> ValidationRecord:
    """The gate's section, as far as it got."""
    status = "skipped" if skipped else "failed" if failed else suite.status if suite else None
    return ValidationRecord.model_validate({
        "pytest": status,
        "skipped": skipped,
        "tests": _counts(suite) if suite and suite.status != "disabled" else None,
        "dataset_errors": dataset.error_count if dataset else None,
        "dataset": _dataset(dataset) if dataset else None,
    })  # fmt: skip


def accepted_validation(stored: Mapping[str, Any], experiment: Experiment, receipt: StoredReceipt) -> ValidationRecord:
    """The gate's section of the run in which it passed, as that of a run which accepts its receipt.

    The dataset's files may have moved since; their contents have not changed.
    """
    held = {"path": receipt.path, "digest": receipt.receipt.digest, "created": receipt.receipt.created, "reused": True}
    section = ValidationRecord.model_validate({**stored, "receipt": held})
    assert section.dataset is not None, "a gate that passed has seen the dataset"
    paths = experiment.dataset.paths
    moved: dict[str, Any] = {"path": spell_path(paths[0]) if len(paths) == 1 else None}
    files = [
        file.model_copy(update={"path": spell_path(path)})
        for file, path in zip(section.dataset.files, paths, strict=False)
    ]
    return section.model_copy(update={"dataset": section.dataset.model_copy(update={**moved, "files": files})})


def _counts(suite: TestSuiteResult) -> SuiteCounts:
    names = ("passed", "failed", "errors", "skipped", "xfailed", "xpassed", "deselected", "exit_code", "duration_s")
    return SuiteCounts.model_validate({name: getattr(suite, name) for name in names} | {"args": list(suite.args)})


def _dataset(result: DatasetValidationResult) -> DatasetRecord:
    files = [file._asdict() for file in result.contents]
    return DatasetRecord.model_validate({
        "path": files[0]["path"] if len(files) == 1 else None,
        "files": files,
        "sha256": result.sha256,
        "size_bytes": result.size_bytes,
        "rows": result.rows,
        "blank_lines": result.blank_lines,
        "complete": result.complete,
        "errors": result.error_count,
        "warnings": result.warning_count,
        "counts_by_code": dict(result.counts_by_code),
        "statistics": dict(result.statistics),
        "duration_s": result.duration_s,
    })  # fmt: skip


def plan(data: PreparedData) -> PlanRecord:
    """What training is to do."""
    tokens, trained_tokens = data.planned_tokens
    return PlanRecord(
        steps=len(data.plan),
        rows=len(data.train_rows),
        held_out_rows=len(data.held_out_rows),
        tokens=tokens,
        trained_tokens=trained_tokens,
        longest_row_tokens=max(data.rows.lengths),
    )


def prediction(estimate: Estimate) -> EstimatesRecord:
    """What training is expected to take."""
    predicted = Prediction(
        steps=estimate.steps,
        tokens=estimate.tokens,
        trained_tokens=estimate.trained_tokens,
        peak_memory_bytes=estimate.peak_memory_bytes,
        memory_parts=dict(estimate.memory_parts),
        device_memory_bytes=estimate.device_memory_bytes,
        device_parts=dict(estimate.device_parts),
        seconds=estimate.seconds,
        source=estimate.source,
        notes=list(estimate.notes),
    )
    return EstimatesRecord(predicted=predicted)


def measured(before: EstimatesRecord, report: TrainingReport, peak: PeakMemory) -> EstimatesRecord:
    """What training took, beside what it was expected to take."""
    measurement = Measurement(
        steps=report.steps,
        peak_memory_bytes=peak.resident_bytes,
        sampled=peak.sampled,
        device_memory_bytes=peak.device_bytes,
        seconds=report.metrics.get("train_seconds"),
    )
    names = ("steps", "peak_memory_bytes", "device_memory_bytes", "seconds")
    pairs = {name: (getattr(before.predicted, name), getattr(measurement, name)) for name in names}
    ratios = {name: round(said / seen, 4) for name, (said, seen) in pairs.items() if said is not None and seen}
    return EstimatesRecord(predicted=before.predicted, measured=measurement, ratios=ratios)


def training(
    experiment: Experiment, report: TrainingReport, data: PreparedData, identity: Mapping[str, Any], peak: PeakMemory
) -> TrainingRecord:
    """Training's section."""
    tokens, trained_tokens = data.tokens_of(report.steps)
    config = experiment.pipeline.training
    return TrainingRecord.model_validate({
        "backend": report.backend,
        "config": config.config_path if config else None,
        "checkpoint_dir": report.checkpoint_dir,
        "metrics": report.metrics,
        "base_model": BaseModelRecord(name=experiment.base_model or "", identity=dict(identity)),
        "adapter_sha256": report.adapter_sha256 or None,
        "steps": report.steps,
        "epochs": report.steps / data.plan.steps_per_epoch,
        "rows": len(data.train_rows),
        "held_out_rows": data.row_numbers(data.held_out_rows),
        "dropped_rows": list(data.rows.dropped),
        "tokens": tokens,
        "trained_tokens": trained_tokens,
        "settings": settings(report.settings),
        "loss_first_quarter": report.metrics.get("first_quarter_loss"),
        "loss_last_quarter": report.metrics.get("last_quarter_loss"),
        "stopped_early": report.stopped_early,
        "best_step": report.best_step,
        "best_saved": report.best_saved,
        "performance": _performance(report.performance, peak) if report.performance else None,
        "resumed_from": report.resumed_from,
        "log_history": report.step_log,
    })  # fmt: skip


def _performance(found: Performance, peak: PeakMemory) -> PerformanceRecord:
    return PerformanceRecord(
        steps=found.steps,
        tokens_per_second=found.tokens_per_second,
        trained_tokens_per_second=found.trained_tokens_per_second,
        flops_per_second=found.flops_per_second,
        mfu=found.mfu,
        peak_flops=found.peak_flops,
        devices=found.devices,
        peak_memory_bytes=peak.resident_bytes,
        peak_device_memory_bytes=peak.device_bytes,
        seconds={phase: round(seconds, 6) for phase, seconds in found.seconds.items()},
    )


def evaluation(experiment: Experiment, report: EvaluationReport, identity: Mapping[str, Any]) -> EvaluationRecord:
    """Evaluation's section."""
    adapter = None
    if not experiment.evaluate_base_only and experiment.checkpoint_dir is not None:
        weights = experiment.checkpoint_dir / ADAPTER_WEIGHTS
        sha256 = sha256_file(weights) if weights.is_file() else None
        adapter = AdapterRecord.model_validate({"path": experiment.checkpoint_dir, "sha256": sha256})
    found = dict(report.settings)
    sampling = {name: found.pop(name) for name in ("temperature", "top_p", "max_new_tokens", "seed")}
    return EvaluationRecord.model_validate({
        "metrics": report.metrics,
        "output": report.output or report.predictions,
        "base_metrics": report.base_metrics,
        "confusion": report.confusion,
        "backend": found.pop("backend"),
        "base_model": BaseModelRecord(name=experiment.base_model or "", identity=dict(identity)),
        "adapter": adapter,
        "records": report.records,
        "sampling": Sampling.model_validate(sampling),
        "batch_size": found.pop("batch_size", None),
        "settings": settings(found),
    })  # fmt: skip


def settings(found: Mapping[str, Any]) -> Settings:
    """Resolved settings; those without a key of their own go under `further`."""
    rest = dict(found)
    return Settings.model_validate({
        "device": rest.pop("device", None),
        "precision": rest.pop("compute_precision", rest.pop("dtype", None)),
        "threads": rest.pop("threads", None),
        "resolutions": rest.pop("announcements", []),
        "further": rest,
    })  # fmt: skip
