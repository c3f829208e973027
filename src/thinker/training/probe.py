"""A trial of training: two optimizer steps on the heaviest micro-batch, measured in a process of their own.

This process keeps its memory and its random state, and nothing is written but to a temporary folder.
"""

from __future__ import annotations

import json
import logging
import pickle
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from thinker.config.experiment import Experiment
from thinker.data.encode import EncodedExample
from thinker.errors import TrainingError
from thinker.training.base import TrainingContext
from thinker.training.workload import MicroBatch

log = logging.getLogger("thinker")
STEPS = 2


@dataclass(frozen=True)
class ProbeRequest:
    """What the process is told, on its standard input.

    Attributes:
        experiment: the configuration.
        cache_dir: where a `.gguf` file is unpacked.
        examples: the micro-batch's rows.
    """

    experiment: Experiment
    cache_dir: Path
    examples: tuple[EncodedExample, ...]


@dataclass(frozen=True)
class ProbeResult:
    """What the two steps took.

    Attributes:
        libraries_bytes: resident set before the model was loaded.
        peak_bytes: highest resident set from then on.
        device_bytes: most that torch's allocator gave out on an accelerator; None on CPU.
        pass_seconds: forward and backward pass of the micro-batch, once warm.
        optimizer_seconds: the optimizer's step.
    """

    libraries_bytes: int
    peak_bytes: int
    device_bytes: int | None
    pass_seconds: float
    optimizer_seconds: float


def run_probe(context: TrainingContext, batch: MicroBatch) -> ProbeResult:
    """Train `STEPS` steps on `batch` in a child process.

    Raises:
        TrainingError: it did not get through; one line says why.
    """
    request = ProbeRequest(context.experiment, context.cache_dir, tuple(context.rows[row] for row in batch.rows))
    with tempfile.TemporaryDirectory(prefix="thinker-probe-") as folder:
        done = subprocess.run(
            [sys.executable, "-m", "thinker.training.probe_process", folder],
            input=pickle.dumps(request), capture_output=True, check=False,
        )  # fmt: skip
        log.debug("probe: exit code %d\n%s", done.returncode, done.stderr.decode(errors="replace"))
        answer = Path(folder, "result.json")
        said = json.loads(answer.read_text(encoding="utf-8")) if answer.is_file() else {}
    if "result" in said:
        return ProbeResult(**said["result"])
    raise TrainingError(f"the probe failed: {said.get('error') or _how_it_ended(done)}")


def write_answer(folder: Path, result: ProbeResult | None, error: str = "") -> None:
    """The child's side: leave what `run_probe` reads."""
    said = {"result": asdict(result)} if result else {"error": error}
    (folder / "result.json").write_text(json.dumps(said), encoding="utf-8")


def _how_it_ended(done: subprocess.CompletedProcess[bytes]) -> str:
    if done.returncode == -getattr(signal, "SIGKILL", 9):
        return "its process was killed, most likely for want of memory"
    last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    return f"its process ended with exit code {done.returncode}: {last}"
