"""The machine and the packages that a recorded run computed with, held against those of now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from thinker.config import Experiment
from thinker.runs.differences import Difference, Fact, differing
from thinker.runs.models import RunRecord, Settings
from thinker.runs.provenance import environment, library_versions

_HARDWARE: Final = {"compute": "precision", "weights": "weights_precision"}


def wanted_threads(record: RunRecord) -> int | None:
    """The threads that the run computed with; where the record contradicts itself, what its training digest covers."""
    stated = [covered(record, "hardware").get("threads")]
    stated += [
        section.settings.threads for section in (record.training, record.evaluation) if section and section.settings
    ]
    stated.append(record.environment.threads if record.environment else None)
    return next((threads for threads in stated if isinstance(threads, int) and threads > 0), None)


def covered(record: RunRecord, part: str) -> Mapping[str, Any]:
    """One of the parts that the recorded training digest covers; empty where there is none."""
    found = (record.training_inputs or {}).get(part)
    return found if isinstance(found, Mapping) else {}


def version_differences(record: RunRecord) -> list[Difference]:
    """Packages, and Python itself, of which the record names another version than the one installed."""
    facts = [Fact("version", name, version) for name, version in covered(record, "versions").items()]
    here = environment()
    if record.environment:
        facts += [Fact("version", name, version) for name, version in record.environment.versions.items()]
        facts.append(Fact("version", record.environment.implementation, record.environment.python))
    others = [name for _, name, _ in facts if name not in here.versions]
    installed = {**dict.fromkeys(others), **library_versions(others), **here.versions}
    return differing(facts, {**installed, here.implementation: here.python})


def hardware_differences(
    record: RunRecord, experiment: Experiment, training_inputs: Mapping[str, Any] | None
) -> list[Difference]:
    """What the bits of a result depend on: the kind of machine and device, precision, threads."""
    from thinker.modeling.determinism import thread_count

    machine = environment()
    here: dict[str, Any] = {"machine": machine.machine, "processor": machine.processor, "threads": thread_count()}
    if training_inputs is not None:
        here |= _labelled(training_inputs["hardware"])
    else:
        here["device"] = _device_here(experiment)
    return differing(_stated_hardware(record), here)


def _stated_hardware(record: RunRecord) -> Iterator[Fact]:
    stated: list[tuple[str, Any]] = list(_labelled(covered(record, "hardware")).items())
    for section, name in ((record.training, "precision"), (record.evaluation, None)):
        if section and section.settings:
            stated += _of_settings(section.settings, name)
    if where := record.environment:
        stated += [("machine", where.machine), ("processor", where.processor), ("threads", where.threads)]
        stated.append(("device", device_kind(where.device)))
    yield from (Fact("hardware", name, value) for name, value in stated if value is not None)


def _of_settings(settings: Settings, precision: str | None) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = [("device", device_kind(settings.device)), ("threads", settings.threads)]
    if precision:
        found += [(precision, settings.precision), ("weights_precision", settings.further.get("weights_precision"))]
    return found


def _labelled(hardware: Mapping[str, Any]) -> dict[str, Any]:
    return {_HARDWARE.get(name, name): value for name, value in hardware.items()}


def _device_here(experiment: Experiment) -> str | None:
    from thinker.modeling.devices import describe, resolve_device

    return device_kind(describe(resolve_device(experiment.recipe.model.device if experiment.recipe else "auto")))


def device_kind(described: str | None) -> str | None:
    """`cuda:1 (NVIDIA …)` without its number, as `thinker.modeling.devices.hardware` has it; `cpu` as it is."""
    return described and (described.partition(" ")[2] or described.partition(":")[0])
