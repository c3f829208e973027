"""What training will take, said before its first step: optimizer steps, tokens, peak memory, time.

Steps and tokens are counted in the plan. Memory is computed from the model's shape (`hf_peft.memory`) or, where a probe
has run, measured by it: what the probe's process held beyond its libraries stands in for all computed parts but those,
which are this process's own. Time is known from a probe alone: each micro-batch's share of the probe's seconds is its
share of the floating-point operations.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import TypeAdapter

from thinker.errors import ConfigError, PreconditionError, ThinkerError
from thinker.files import folder_in_one_step
from thinker.training.base import TrainingContext
from thinker.training.workload import Workload, workload

if TYPE_CHECKING:
    from thinker.training.hf_peft.memory import Prepared
    from thinker.training.probe import ProbeResult

log = logging.getLogger("thinker")
KIND = "probes"
_LOCAL_BACKEND = "hf_peft"


@dataclass(frozen=True)
class Estimate:
    """What training will take.

    Attributes:
        steps: optimizer steps.
        tokens: that go through the model in all steps.
        trained_tokens: those among them that carry loss.
        memory_parts: of the process's peak resident set, in bytes; empty where unknown.
        device_parts: of the peak of torch's allocator on an accelerator, in bytes; empty on CPU.
        seconds: of all steps, without loading the model and saving the adapter; None without a probe.
        device: where training computes; None where that is not this machine.
        source: what memory and time come from; None where neither is known.
        notes: what could not be said, and why.
    """

    steps: int
    tokens: int
    trained_tokens: int
    memory_parts: Mapping[str, int] = field(default_factory=dict)
    device_parts: Mapping[str, int] = field(default_factory=dict)
    seconds: float | None = None
    device: str | None = None
    source: Literal["formula", "probe"] | None = None
    notes: tuple[str, ...] = ()

    @property
    def peak_memory_bytes(self) -> int | None:
        """The process's highest resident set."""
        return sum(self.memory_parts.values()) or None

    @property
    def device_memory_bytes(self) -> int | None:
        """The most that torch's allocator gives out on an accelerator."""
        return sum(self.device_parts.values()) or None


def estimate(context: TrainingContext, *, probe: bool) -> Estimate:
    """What training on `context` will take.

    Args:
        context: as the backend is given it.
        probe: whether to run a probe, and keep what it found. Otherwise one that was kept for this training
            fingerprint counts.
    """
    work = workload(context)
    counted = Estimate(work.steps, work.tokens, work.trained_tokens)
    backend = context.experiment.pipeline.training
    if backend is None or backend.backend != _LOCAL_BACKEND:
        name = backend.backend if backend else "none"
        return replace(counted, notes=(f"backend {name}: memory and time are not estimated",))
    if not probe and (kept := _kept(context)):
        return kept
    return _of_local_backend(context, work, counted, probe=probe)


def memory_warnings(found: Estimate, context: TrainingContext) -> list[str]:
    """A line for each kind of memory that training needs more of than is free, with the keys to lower."""
    if found.device is None:
        return []
    from thinker.modeling.memory import free_bytes, free_device_bytes

    kinds: list[tuple[str, int, int | None]] = []
    if found.memory_parts:  # the libraries are in memory already
        needed = sum(size for name, size in found.memory_parts.items() if name != "libraries")
        kinds.append(("memory", needed, free_bytes()))
    if found.device_parts:
        kinds.append((f"memory on {found.device}", sum(found.device_parts.values()), free_device_bytes(found.device)))
    return [
        f"training needs about {needed / 1e9:.1f} GB of {kind} beyond what is taken now, and {free / 1e9:.1f} GB are "
        f"free: {_lower(context)}"
        for kind, needed, free in kinds
        if free is not None and needed > free
    ]


def _lower(context: TrainingContext) -> str:
    recipe = context.experiment.recipe
    assert recipe is not None  # who trains has one
    training = recipe.training
    longest = max(context.rows.lengths[row] for row in context.train_rows)
    keys = [f"training.max_seq_length (the longest row has {longest} tokens)"]
    if training.per_device_batch_size > 1:
        keys.insert(0, f"training.per_device_batch_size (now {training.per_device_batch_size})")
    others = [] if training.gradient_checkpointing else ["training.gradient_checkpointing: true"]
    if recipe.model.quantization != "4bit":
        others.append("model.quantization: 4bit")
    return f"lower {' or '.join(keys)}" + (f", or set {' or '.join(others)}" if others else "")


def _of_local_backend(context: TrainingContext, work: Workload, counted: Estimate, *, probe: bool) -> Estimate:
    from thinker.training.hf_peft.memory import estimate_memory, prepare_estimate

    try:
        prepared = prepare_estimate(context, work)
    except ConfigError:  # training would be refused for it, after the model is loaded
        raise
    except Exception as error:  # an estimate must not stop a training that would go through
        log.debug("no estimate of memory and time", exc_info=error)
        return replace(counted, notes=(f"memory and time are not estimated: {_first_line(error)}",))
    found = replace(counted, device=str(prepared.device))
    kernels = 0
    try:
        memory = estimate_memory(prepared)
    except Exception as error:  # whatever a model's code does where tensors have no contents
        log.debug("the replay failed", exc_info=error)
        note = f"memory: the model cannot be gone through without its weights ({_first_line(error)})"
        found = replace(found, notes=(note,))
    else:
        found = replace(found, memory_parts=memory.resident, device_parts=memory.device, source="formula")
        kernels = memory.kernels
    return _with_probe(context, prepared, found, kernels) if probe else found


def _with_probe(context: TrainingContext, prepared: Prepared, found: Estimate, kernels: int) -> Estimate:
    from thinker.training.probe import STEPS, run_probe

    shape = prepared.heaviest.shape
    log.info("probe: %d steps on the heaviest micro-batch (%d rows of up to %d tokens), in a process of its own",
             STEPS, len(shape.lengths), shape.longest)  # fmt: skip
    try:
        result = run_probe(context, prepared.heaviest)
    except ThinkerError as error:
        return replace(found, notes=(*found.notes, str(error)))
    probed = refined(found, result, prepared, kernels)
    _keep(context, probed)
    return probed


def refined(computed: Estimate, result: ProbeResult, prepared: Prepared, kernels: int) -> Estimate:
    """`computed` with what a probe measured in place of what it says of memory, and with time.

    Args:
        computed: the estimate without a probe.
        result: what the probe took.
        prepared: model and plan.
        kernels: compiled for each shape of micro-batch, of which the probe has seen one.
    """
    from thinker.training.hf_peft.memory import kernel_bytes

    size, work = prepared.dimensions, prepared.work
    checkpointing = prepared.recipe.training.gradient_checkpointing
    flops = sum(size.training_flops(batch.shape, checkpointing=checkpointing) for batch in work.micro_batches)
    flops += work.evaluations * sum(size.forward_flops(batch.shape) for batch in work.held_out)
    of_probe = size.training_flops(prepared.heaviest.shape, checkpointing=checkpointing)
    libraries = computed.memory_parts.get("libraries", result.libraries_bytes)
    parts = {
        "libraries": libraries,
        "probed": result.peak_bytes - result.libraries_bytes,
        "kernels": kernel_bytes(kernels, work.shapes) - kernel_bytes(kernels, 1),
    }
    return replace(
        computed,
        memory_parts={name: size for name, size in parts.items() if size},
        device_parts={"probed": result.device_bytes} if result.device_bytes else {},
        seconds=result.pass_seconds * flops / of_probe + result.optimizer_seconds * work.steps,
        source="probe",
    )


def _keep(context: TrainingContext, probed: Estimate) -> None:
    """Keep what a probe found for the training that follows; a full disk costs it, and nothing else."""
    folder = _folder(context)
    try:
        shutil.rmtree(folder, ignore_errors=True)
        with folder_in_one_step(folder) as temporary:
            (temporary / "estimate.json").write_bytes(TypeAdapter(Estimate).dump_json(probed))
    except (OSError, PreconditionError) as error:
        log.warning("what the probe found is not kept: %s", error)


def _kept(context: TrainingContext) -> Estimate | None:
    """What a probe found for this training fingerprint, with the libraries of this process."""
    try:
        found = TypeAdapter(Estimate).validate_json((_folder(context) / "estimate.json").read_bytes())
    except (OSError, ValueError):
        return None
    import thinker.training.hf_peft.trainer  # noqa: F401  what training imports is in memory before it is measured
    from thinker.modeling.memory import resident_bytes

    return replace(found, memory_parts={**found.memory_parts, "libraries": resident_bytes()})


def _folder(context: TrainingContext) -> Path:
    return context.cache_dir / KIND / context.training_fingerprint[:32]


def _first_line(error: Exception) -> str:
    line = str(error).partition("\n")[0]
    return line if isinstance(error, ThinkerError) else f"{type(error).__name__}: {line}"
