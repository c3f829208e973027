"""Runs of contenders, each in a process of its own, for bench_train.py."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from train_case import Case

HERE = Path(__file__).parent
LABELS = {
    "thinker": "Thinker",
    "thinker-fast": "Thinker, determinism: fast",
    "trl": "TRL SFTTrainer",
    "trl-padding-free": "TRL, padding_free",
    "trl-checkpointing": "TRL, gradient checkpointing",
    "trainer": "Trainer, dynamic padding",
    "llamafactory": "LLaMA-Factory",
}
# Run once, in the first round: they tell what a setting of a peer changes.
EXTRAS = ("trl-padding-free", "trl-checkpointing")
SAMPLE_S = 0.5


@dataclass(frozen=True)
class Run:
    """One training in a process of its own.

    Attributes:
        seconds: from a Trainer that is ready to the end of its last step.
        after_first_s: of all steps but the first; None where there was one.
        tokens, after_first_tokens: of the rows trained meanwhile.
        peak_bytes: highest resident sets of its processes, added up.
        train_peak_bytes: highest resident set of the training process during its steps.
        device_peak_bytes: most that torch had given out on the GPU.
        same_ids: whether it trained Thinker's token ids, with loss on the same ones.
        adapter: its folder.
        recorded_s: what Thinker's own record says of training; None for the others.
    """

    name: str
    round: int
    seconds: float
    after_first_s: float | None
    tokens: int
    after_first_tokens: int
    losses: list[float]
    peak_bytes: int
    train_peak_bytes: int
    device_peak_bytes: int | None
    same_ids: bool
    adapter: str
    versions: dict[str, str]
    recorded_s: float | None

    @property
    def tokens_per_s(self) -> float:
        """Of the rows, over all steps."""
        return self.tokens / self.seconds

    @property
    def after_first_tokens_per_s(self) -> float | None:
        """Of the rows, over all steps but the first; None where there was one."""
        return self.after_first_tokens / self.after_first_s if self.after_first_s else None


def take_turns(case: Case, peers: Sequence[str], rounds: int, folder: Path) -> tuple[list[Run], dict[str, str]]:
    """All runs, and for contenders that failed, why. One that failed is not tried again."""
    case_file = case.write(folder / "case.json")
    failures: dict[str, str] = {}
    runs: list[Run] = []
    for number in range(rounds):
        names = [name for name in peers if number == 0 or name not in EXTRAS]
        for name in names[:: -1 if number % 2 else 1]:
            if name in failures:
                continue
            try:
                run = run_contender(name, case, case_file, folder / f"{name}-{number}", number)
            except RuntimeError as error:
                failures[name] = str(error)
                print(f"{LABELS[name]}: failed: {error}", flush=True)
                continue
            runs.append(run)
            print(f"round {number + 1}: {LABELS[name]:28} {run.seconds:8.1f} s {run.tokens_per_s:10,.0f} tokens/s",
                  flush=True)  # fmt: skip
    return runs, failures


def run_contender(name: str, case: Case, case_file: Path, folder: Path, number: int) -> Run:
    """Let one contender train in a process of its own.

    Raises:
        RuntimeError: it failed; says why.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [_interpreter(name), str(HERE / "train_peers.py"), name, str(case_file), str(folder)]
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment())
        try:
            sampled = _peaks(process)
        finally:
            process.kill()  # where this script is stopped; it has ended otherwise
            process.wait()
    if process.returncode:
        raise RuntimeError(_reason(folder / "output.txt"))
    result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    ends: list[float] = result["step_ends_s"]
    steps = case.step_rows()
    if len(ends) != len(steps):
        raise RuntimeError(f"took {len(ends)} steps of {len(steps)}")
    encoded = case.encoded()
    step_tokens = [sum(len(encoded[row][0]) for row in step) for step in steps]
    sampled[process.pid] = max(sampled.get(process.pid, 0), result["train_peak_bytes"])
    return Run(
        name=name, round=number, seconds=ends[-1], after_first_s=ends[-1] - ends[0] if len(ends) > 1 else None,
        tokens=sum(step_tokens), after_first_tokens=sum(step_tokens[1:]), losses=result["losses"],
        peak_bytes=sum(sampled.values()),
        train_peak_bytes=result["train_peak_bytes"], device_peak_bytes=result["device_peak_bytes"],
        same_ids=result["same_ids"], adapter=result["adapter"], versions=result["versions"],
        recorded_s=result.get("train_seconds"),
    )  # fmt: skip


def said_to_be_missing(name: str) -> bool:
    """Whether a contender's package is not installed; says so."""
    package = "transformers" if name == "trainer" else name.partition("-")[0]
    interpreter = _interpreter(name)
    ask = [interpreter, "-c", f"import importlib.metadata as m; m.version('{package}')"]
    if shutil.which(interpreter) and subprocess.run(ask, capture_output=True, check=False).returncode == 0:
        return False
    named = ", which LLAMAFACTORY_PYTHON names" if "LLAMAFACTORY_PYTHON" in os.environ else ""
    where = f"{interpreter}{named}" if name == "llamafactory" else interpreter
    print(f"{LABELS[name]}: left out, {package} is not installed for {where}")
    return True


def _interpreter(name: str) -> str:
    """LLaMA-Factory wants other versions of Transformers, PEFT and TRL, and so an environment of its own."""
    return os.environ.get("LLAMAFACTORY_PYTHON", sys.executable) if name == "llamafactory" else sys.executable


def environment() -> dict[str, str]:
    """Two threads unless told otherwise, and no network."""
    return {
        "OMP_NUM_THREADS": "2", **os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false", "PYTHONWARNINGS": "ignore",
    }  # fmt: skip


def _peaks(process: subprocess.Popen[bytes]) -> dict[int, int]:
    """The kernel's mark of the highest resident set of `process` and each process below it, until it ends.

    The mark, rather than the resident set: it tells of what was held between two looks, too.
    """
    peaks: dict[int, int] = {}
    top = psutil.Process(process.pid)
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            for each in (top, *top.children(recursive=True)):
                peaks[each.pid] = max(peaks.get(each.pid, 0), _peak_of(each))
        time.sleep(SAMPLE_S)
    return peaks


def _peak_of(process: psutil.Process) -> int:
    try:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError):  # it has just ended, or this is no Linux
        return int(process.memory_info().rss) if process.is_running() else 0


def _reason(output: Path) -> str:
    """What a contender printed of memory or as Thinker's error, else its last line."""
    lines = [line.strip() for line in output.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if "out of memory" in line or line.startswith("[thinker] error")]
    return (telling or lines or ["it printed nothing"])[-1][:300]


def held_out_losses(case: Case, held_out: str, runs: Sequence[Run]) -> dict[str, float]:
    """By contender, and for the base model as `base`: the loss of the adapter of its first run."""
    adapters: dict[str, str] = {}
    for run in runs:
        adapters.setdefault(run.name, run.adapter)
    command = [sys.executable, str(HERE / "heldout_loss.py"), case.model, held_out, *adapters.values(),
               "--device", case.device]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    if done.returncode:
        print(f"the held-out loss could not be measured:\n{done.stderr[-2000:]}")
        return {}
    found = json.loads(done.stdout.splitlines()[-1])
    return {"base": found["base"], **{name: found[adapter] for name, adapter in adapters.items()}}
