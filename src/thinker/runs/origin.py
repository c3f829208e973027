"""A run as its record tells of it, and where on this machine the files that the record names lie."""

from __future__ import annotations

import contextlib
import json
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from thinker.config import Experiment, load_experiment
from thinker.errors import PreconditionError
from thinker.runs.listing import find_record, read_record
from thinker.runs.models import RunRecord
from thinker.secrets import MASK, looks_secret

if TYPE_CHECKING:
    from thinker.config.rules import Command

log = logging.getLogger("thinker")

RESOLVED: Final = "config.resolved"
_CHECKPOINT_OPTION: Final = "--checkpoint"
_CHECKPOINT_KEY: Final = "pipeline.evaluation.checkpoint_dir="


@dataclass(frozen=True)
class RecordedRun:
    """A record and where it lies.

    Attributes:
        path: the record's file.
        record: what it says.
    """

    path: Path
    record: RunRecord

    @classmethod
    def find(cls, path_or_id: str | Path, runs_dir: Path) -> RecordedRun:
        """The run that `thinker runs show` would show.

        Raises:
            RecordError: there is no such record, or it cannot be read.
        """
        path = find_record(path_or_id, runs_dir).absolute()
        return cls(path, read_record(path))

    @cached_property
    def folder(self) -> Path:
        """The folder from which the record's relative paths start: the run's current folder, if it has not moved.

        Where the record lies tells it best, since that moves with the project; then what the run wrote down; then the
        current folder. The first of these that has the pipeline file is taken, or the first, if none has.
        """
        candidates = [*self._above_the_record(), *self._as_written_down(), Path.cwd()]
        found = next((each for each in candidates if (each / self.record.config).is_file()), candidates[0])
        if found != candidates[0]:
            log.info("%s is not in %s: taken from %s", self.record.config, candidates[0], found)
        return found

    def place(self, recorded: str) -> Path:
        """The file or folder that the record calls `recorded`."""
        return self.folder / recorded

    def base_model(self) -> str | None:
        """Hub id or path of the recorded base model; one that lay in the run's current folder moves with it."""
        sections = [section.base_model for section in (self.record.training, self.record.evaluation) if section]
        name = next((section.name for section in sections if section), None)
        before = (self.resolved_config() or {}).get("current_folder")
        if name is None or not isinstance(before, str) or not Path(name).is_relative_to(before):
            return name
        return str(self.folder / Path(name).relative_to(before))

    def artifact(self, name: str) -> Path | None:
        """A file that the run made, at its recorded place or else in the folder beside the record; None: not listed."""
        if name not in self.record.artifacts:
            return None
        recorded = self.record.artifacts[name].path
        beside = self._beside(recorded)
        place = self.place(recorded)
        return place if place.exists() or not beside.exists() else beside

    def resolved_config(self) -> dict[str, Any] | None:
        """Both configuration files as the run understood them; None where that file is gone or no longer JSON."""
        path = self.artifact(RESOLVED)
        return _json_object(path) if path else None

    def load_experiment(self, command: Command) -> Experiment:
        """The experiment as its files describe it now, with the run's own options.

        Raises:
            ConfigError: the files cannot be used; names what is missing.
            PreconditionError: the pipeline file is not where the record says, or an option is not on record.
        """
        config = self.place(self.record.config)
        if not config.is_file():
            raise PreconditionError(
                f"the run's pipeline file is missing: {config}; put it back, or go to the folder from which "
                f"{self.record.config} leads to it"
            )
        overrides, checkpoint = self._options()
        with contextlib.chdir(self.folder):
            return load_experiment(config, command=command, overrides=overrides, checkpoint=checkpoint)

    def _options(self) -> tuple[list[str], Path | None]:
        """The `--set` expressions of the run, and the folder given with `--checkpoint`."""
        overrides, checkpoint = list(self.record.overrides), None
        if any(word.partition("=")[0] == _CHECKPOINT_OPTION for word in self.record.argv) and overrides:
            # The option stands on record as the last override. As an override it would have to agree with both files.
            checkpoint = Path(overrides.pop().removeprefix(_CHECKPOINT_KEY))
        masked = [each for each in overrides if MASK in each]
        # A token decides what may be downloaded, not what is computed.
        if lost := [each for each in masked if not looks_secret(each.partition("=")[0])]:
            raise PreconditionError(f"--set {lost[0]}: its value was taken for a secret and is not on record")
        return [each for each in overrides if each not in masked], checkpoint

    def _above_the_record(self) -> list[Path]:
        """The folder above the record's own that the record's spelling of it starts from, if the two agree."""
        spelled = next((Path(file.path).parent.parent for name, file in self._own_files()), None)
        if spelled is None or spelled.is_absolute():
            return []
        own, depth = self.path.parent.resolve(), len(spelled.parts)
        if own.parts[len(own.parts) - depth :] != spelled.parts:
            return []
        return [Path(*own.parts[: len(own.parts) - depth])]

    def _as_written_down(self) -> list[Path]:
        # Its place cannot be asked of `artifact`, which asks for the folder.
        own = dict(self._own_files()).get(RESOLVED)
        found = _json_object(self._beside(own.path)) if own else None
        folder = found.get("current_folder") if found else None
        return [Path(folder)] if isinstance(folder, str) and Path(folder).is_dir() else []

    def _beside(self, recorded: str) -> Path:
        return self.path.parent / self.record.run_id / Path(recorded).name

    def _own_files(self) -> list[tuple[str, Any]]:
        """The artifacts that lie in the run's folder."""
        files = self.record.artifacts.items()
        return [(name, file) for name, file in files if Path(file.path).parent.name == self.record.run_id]


def _json_object(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
