"""What is known of a gate before it runs: its inputs as they are now, and the receipts of earlier passes."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from thinker.config.experiment import Experiment
from thinker.data.dataset_files import combined_sha256
from thinker.errors import DataError
from thinker.tasks.base import Task
from thinker.validation.declared_inputs import (
    checked_part,
    combined,
    dataset_names,
    evaluation_part,
    places_of,
    tokenizer_part,
    with_observed,
)
from thinker.validation.gate_inputs import Change, GateInputs, Part
from thinker.validation.observation import Observation
from thinker.validation.receipt import ReceiptFolder, StoredReceipt
from thinker.validation.suite_inputs import suite_part

# A chat template that writes today's date gives other prompts tomorrow.
DAY: Final = "day"
_NAMED: Final = 10


@dataclass(frozen=True)
class SuiteReads:
    """What a suite was seen to read of the project.

    Attributes:
        files: names.
        packages: distributions whose code it imported.
        changed: names of files that did not stay as they were while it ran.
        written: names of files that are its own work.
    """

    files: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    written: tuple[str, ...] = ()


class KnownVerdicts:
    """The inputs of one experiment's gate, and the receipts that lie beside its pipeline file.

    Attributes:
        inputs: what the configuration declares, hashed when this was made.
        folder: where the receipts lie.
        receipts: all that can be used, newest first.

    Raises:
        DataError: an input cannot be read.
    """

    def __init__(self, experiment: Experiment, task: Task) -> None:
        self._experiment, self._task = experiment, task
        self._places = places_of(experiment)
        try:
            self._records = evaluation_part(experiment, self._places)
            self._tokenizer = tokenizer_part(experiment, self._places)
            self._checked = checked_part(experiment, task, self._places, self._records, self._tokenizer)
            self._suite = suite_part(experiment, self._places)
            self.inputs = combined(experiment, self._suite, self._checked)
        except OSError as error:
            raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error
        self.folder = ReceiptFolder(experiment.config_path)
        self.receipts = self.folder.read()

    def standing(self) -> StoredReceipt | None:
        """The newest receipt all of whose inputs are as they were."""
        return next((each for each in self.receipts if self.now(each).digest == each.receipt.digest), None)

    def latest(self) -> StoredReceipt | None:
        """The newest receipt of this pipeline file."""
        name = self._experiment.config_path.name
        return next((each for each in self.receipts if each.receipt.pipeline == name), None)

    def now(self, stored: StoredReceipt) -> GateInputs:
        """The inputs as they are now, with what the suite was seen to read when it earned `stored`."""
        inputs = stored.receipt.inputs
        return with_observed(self.inputs, self._places, inputs.files, inputs.versions, _day(DAY in inputs.settings))

    def reason(self) -> str:
        """Why no receipt stands, in words: each input that is not as it was."""
        latest = self.latest()
        if latest is None:
            return "there is no receipt yet"
        changes = self.now(latest).changes_since(latest.receipt.inputs)
        named = ", ".join(str(change) for change in changes[:_NAMED])
        more = len(changes) - _NAMED
        return f"{named} and {more} more changes" if more > 0 else named

    def dataset_names(self) -> list[str]:
        """The names of the dataset's files."""
        return dataset_names(self._experiment, self._places)

    def dataset_sha256(self) -> str:
        """The dataset's hash when this was made."""
        return combined_sha256([str(self.inputs.files[name]) for name in self.dataset_names()])

    def reads(self, seen: Observation) -> SuiteReads:
        """What of an observation concerns the project; to be asked as soon as the suite has ended."""
        suite = self._experiment.pipeline.tests.path
        # Whatever lies in the suite's own folder is hashed anyway.
        listed = [path for path in seen.listed if suite is None or not path.is_relative_to(suite)]
        return SuiteReads(
            files=(*self._names(seen.read), *(f"{name}/" for name in self._names(listed))),
            packages=tuple(sorted(set(_distributions(seen.packages)))),
            changed=self._names(seen.changed()),
            written=self._names(seen.written),
        )

    def with_reads(self, reads: SuiteReads, *, is_dated: bool) -> tuple[GateInputs, list[str]]:
        """All inputs of the run that has just ended, hashed again, and the suite's that did not stay as they were.

        Args:
            reads: what the suite read.
            is_dated: whether prompts hold today's date.

        Raises:
            DataError: something that the dataset's checks rest on changed meanwhile.
        """
        further = (evaluation_part(self._experiment, self._places), tokenizer_part(self._experiment, self._places))
        checked = checked_part(self._experiment, self._task, self._places, *further)
        if changes := _changes(self._checked, checked):
            raise DataError(f"{changes[0]} while the gate ran, which saw both; run again")
        suite = suite_part(self._experiment, self._places)
        declared = combined(self._experiment, suite, self._checked)
        unsteady = {*reads.changed, *(change.name for change in _changes(self._suite, suite))} - {*reads.written}
        inputs = with_observed(declared, self._places, reads.files, reads.packages, _day(is_dated))
        return inputs, sorted(unsteady)

    def require_same_records(self) -> None:
        """Refuse to evaluate on other records than those that the rows were compared with.

        Raises:
            DataError: a file changed since this was made.
        """
        self._require_same(self._records, evaluation_part(self._experiment, self._places))

    def require_same_tokenizer(self) -> None:
        """Refuse to encode with another tokenizer than that of the checks.

        Raises:
            DataError: a file, or the commit of a hub model, changed since this was made.
        """
        self._require_same(self._tokenizer, tokenizer_part(self._experiment, self._places))

    def _names(self, paths: Iterable[Path]) -> tuple[str, ...]:
        return tuple(sorted({name for name in map(self._places.name_if_ours, paths) if name is not None}))

    def _require_same(self, before: Part, now: Part) -> None:
        if changes := _changes(before, now):
            raise DataError(f"{changes[0]} after it was checked; run `thinker validate` again")


def _changes(before: Part, now: Part) -> list[Change]:
    """What differs; a hub model that was only fetched since had no commit to differ from."""
    changes = GateInputs.of(*now, {}).changes_since(GateInputs.of(*before, {}))
    return [change for change in changes if not (change.kind == "setting" and change.before is None)]


def _day(is_dated: bool) -> dict[str, str]:
    return {DAY: date.today().isoformat()} if is_dated else {}


def _distributions(modules: Iterable[str]) -> Iterator[str]:
    """The installed distributions that modules of these names come from."""
    unknown = set()
    for name in modules:
        if name in sys.stdlib_module_names or name.startswith("_"):
            continue
        try:
            yield importlib.metadata.distribution(name).name
        except importlib.metadata.PackageNotFoundError:
            unknown.add(name)
    if unknown:  # only now: this reads the file lists of all that is installed
        known = importlib.metadata.packages_distributions()
        yield from (distribution for name in unknown for distribution in known.get(name, ()))
