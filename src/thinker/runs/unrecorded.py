"""A run's recorder for a process that another one records."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thinker.runs.models import RunRecord
from thinker.runs.recorder import RunRecorder
from thinker.runs.run_log import RunLog


class Unrecorded(RunRecorder):
    """Keeps the record in memory and writes nothing at all."""

    def __init__(self, record: RunRecord, folder: Path) -> None:
        super().__init__(record, folder, RunLog(Path(os.devnull)))

    def artifact(self, name: str, path: Path) -> None:
        """Nothing: who records the run lists what it made."""

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Nothing."""

    def _save(self) -> OSError | None:
        return None
