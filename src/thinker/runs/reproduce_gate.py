"""The gate of a recorded run, held against its inputs of now, and the checks of its dataset made again."""

from __future__ import annotations

from typing import Any, Final

from thinker import plugins
from thinker.config import Experiment
from thinker.runs import sections
from thinker.runs.differences import Difference, differing_keys, each_once, flattened
from thinker.runs.models import DatasetRecord
from thinker.runs.origin import RecordedRun
from thinker.runs.recorded_inputs import dataset_differences
from thinker.runs.recorded_machine import version_differences
from thinker.tasks.base import Task
from thinker.validation.gate import check_dataset
from thinker.validation.gate_inputs import Change
from thinker.validation.known_verdicts import KnownVerdicts
from thinker.validation.receipt import ReceiptError, StoredReceipt, read_receipt

_COUNTS: Final = ("rows", "blank_lines", "complete", "errors", "warnings", "counts_by_code", "statistics")


def gate_differences(
    run: RecordedRun, experiment: Experiment, *, anyway: bool
) -> tuple[list[Difference], list[Difference], list[str]]:
    """Inputs of the gate that changed, then what the dataset's checks count otherwise, and notes.

    The test suite does not run: it could write anywhere. Its verdict stands as long as the gate digest does.

    Args:
        run: the record.
        experiment: as its files are now.
        anyway: check the dataset also where inputs changed.

    Raises:
        DataError: the dataset cannot be read.
    """
    task = plugins.resolve("tasks", experiment.pipeline.task)()
    inputs, notes = _changed_inputs(run, experiment, task)
    section = run.record.validation
    if (inputs and not anyway) or section is None or section.dataset is None:
        return inputs, [], notes
    return inputs, _counted_otherwise(section.dataset, experiment, task), notes


def _changed_inputs(run: RecordedRun, experiment: Experiment, task: Task) -> tuple[list[Difference], list[str]]:
    record = run.record
    found = [*dataset_differences(record, experiment), *version_differences(record)]
    receipt = record.validation.receipt if record.validation else None
    if receipt is None:
        return found, ["the run left no receipt: what its test suite read cannot be compared"]
    path = run.place(receipt.path)
    try:
        stored = StoredReceipt(path, read_receipt(path))
    except (ReceiptError, OSError) as error:
        why = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        return [*found, Difference("gate", f"receipt {receipt.path}", receipt.digest, None, why)], []
    now = KnownVerdicts(experiment, task).now(stored)
    named = {(each.recorded, each.here) for each in found}
    changes = now.changes_since(stored.receipt.inputs)
    found += [_difference(each) for each in changes if (each.before, each.now) not in named]
    for digest in (record.digests.gate, receipt.digest):
        if not found and digest not in (None, now.digest):
            found.append(Difference("digest", "gate digest", digest, now.digest))
    return each_once(found), ["the test suite was not run again: all that its verdict rests on is compared by hash"]


def _difference(change: Change) -> Difference:
    return Difference("version" if change.kind == "version" else "gate", change.name, change.before, change.now)


def _counted_otherwise(recorded: DatasetRecord, experiment: Experiment, task: Task) -> list[Difference]:
    again = sections.validation(dataset=check_dataset(experiment, task)).dataset
    assert again is not None, "it was just given"
    return differing_keys("count", _counts(recorded), _counts(again))


def _counts(dataset: DatasetRecord) -> dict[str, Any]:
    return flattened({"dataset": dataset.model_dump(mode="json", include=set(_COUNTS))})
