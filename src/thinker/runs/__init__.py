"""What a run leaves behind: its record and folder, where it came from, and the lock on its checkpoints."""

from thinker.runs.listing import RunSummary, list_runs, load_record
from thinker.runs.lock import checkpoint_lock
from thinker.runs.models import RunRecord
from thinker.runs.provenance import environment, git_state, library_versions
from thinker.runs.recorder import RunRecorder

__all__ = [
    "RunRecord",
    "RunRecorder",
    "RunSummary",
    "checkpoint_lock",
    "environment",
    "git_state",
    "library_versions",
    "list_runs",
    "load_record",
]
