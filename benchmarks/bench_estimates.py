"""What `run --dry-run` says training will take, beside what training takes: steps, peak memory, time.

Three cases are required, and must come within 20% in memory: the demo, rows of twice its length, and 4-bit weights.
The others show where the formula holds. Each trains a few steps on the example's model, with its whole command line.

Run: python benchmarks/bench_estimates.py [--steps N] [--all | CASE ...]     (N = 0: the whole plan)
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parents[1] / "examples" / "scifact"
TOLERANCE = 0.2


@dataclass(frozen=True)
class Case:
    """Overrides of the example's recipe; `joined` trains on rows of twice the length."""

    overrides: tuple[str, ...] = ()
    joined: bool = False


REQUIRED = {
    "demo": Case(),
    "twice the length": Case(("training.max_seq_length=2048",), joined=True),
    "4-bit": Case(("model.quantization=4bit",)),
}
FURTHER = {
    "4-bit, twice the length": Case(("model.quantization=4bit", "training.max_seq_length=2048"), joined=True),
    "8-bit": Case(("model.quantization=8bit",)),
    "float32": Case(("training.bf16=false",)),
    "one row": Case(("training.per_device_batch_size=1", "training.gradient_accumulation_steps=4")),
    "four rows": Case(("training.per_device_batch_size=4", "training.gradient_accumulation_steps=1")),
    "checkpointing": Case(("training.gradient_checkpointing=true",)),
    "all layers, rank 64": Case(("lora.target_modules=all-linear", "lora.r=64")),
}


def main() -> int:
    """Print a line for each case; 1 where a required one is off by more than the tolerance."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--steps", type=int, default=3)
    arguments.add_argument("--all", action="store_true")
    arguments.add_argument("cases", nargs="*", metavar="CASE")
    options = arguments.parse_args()
    cases = REQUIRED | FURTHER
    chosen = options.cases or (list(cases) if options.all else list(REQUIRED))
    print(f"{'case':26}{'steps':>12}{'measured':>10}{'probe':>16}{'formula':>16}{'seconds':>24}", flush=True)
    held = True
    for name in chosen:
        with tempfile.TemporaryDirectory(prefix="bench-estimates-") as folder:
            held &= _compare(name, cases[name], Path(folder), options.steps) or name not in REQUIRED
    return 0 if held else 1


def _compare(name: str, case: Case, folder: Path, steps: int) -> bool:
    project = _project(folder, joined=case.joined)
    overrides = [*case.overrides, *([f"training.max_steps={steps}"] if steps else [])]
    formula = _thinker(project, overrides, "run", "--dry-run", "--no-probe")["estimates"]["predicted"]
    _thinker(project, overrides, "run", "--dry-run")
    both = _thinker(project, overrides, "train")["estimates"]
    said, seen = both["predicted"], both["measured"]
    peak = seen["peak_memory_bytes"]
    memory = [
        f"{found / 1e6:7.0f} ({found / peak:.2f})"
        for found in (said["peak_memory_bytes"], formula["peak_memory_bytes"])
    ]
    seconds = f"{said['seconds']:.0f} for {seen['seconds']:.0f} ({said['seconds'] / seen['seconds']:.2f})"
    counts = f"{said['steps']} for {seen['steps']}"
    print(f"{name:26}{counts:>12}{peak / 1e6:10.0f}{memory[0]:>16}{memory[1]:>16}{seconds:>24}", flush=True)
    return said["steps"] == seen["steps"] and abs(said["peak_memory_bytes"] / peak - 1) <= TOLERANCE


def _project(folder: Path, *, joined: bool) -> Path:
    """A copy of the example that shares its unpacked model."""
    project = folder / "scifact"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("runs", "checkpoints", ".thinker", "models"))
    (project / "models").symlink_to(EXAMPLE / "models")
    (project / ".thinker" / "cache").mkdir(parents=True)
    unpacked = EXAMPLE / ".thinker" / "cache" / "models"
    unpacked.mkdir(parents=True, exist_ok=True)
    (project / ".thinker" / "cache" / "models").symlink_to(unpacked)
    if joined:
        dataset = project / "data" / "train.jsonl"
        rows = [json.loads(line) for line in dataset.read_text(encoding="utf-8").splitlines()]
        lines = (json.dumps(row) + "\n" for row in _joined(rows))
        dataset.write_text("".join(lines), encoding="utf-8")
    return project


def _joined(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each row with the documents and the evidence of the next one too: about twice as long."""
    for row, other in zip(rows, [*rows[1:], rows[0]], strict=True):
        head, hypothesis = row["prompt"].split("\n\nHypothesis:")
        documents = other["prompt"].split("\n\nHypothesis:")[0].partition("\n\n")[2]
        lines = row["completion"].count("CLAIM[")
        evidence = other["completion"].split("\n", 1)[1:]
        renumbered = [re.sub(r"\bc([2-9]|\d\d)\b", partial(_shifted, lines - 1), text) for text in evidence]
        completion = "\n".join([row["completion"].rstrip("\n"), *renumbered])
        yield row | {"prompt": f"{head}\n\n{documents}\n\nHypothesis:{hypothesis}", "completion": completion}


def _shifted(by: int, found: re.Match[str]) -> str:
    return f"c{int(found[1]) + by}"


def _thinker(project: Path, overrides: list[str], *command: str) -> dict[str, Any]:
    """A run's record. The gate is left out: joined rows are none that the example's tests know."""
    sets = [word for override in overrides for word in ("--set", override)]
    arguments = [*command, "--skip-validation", "--json", "--config", str(project / "pipeline.yaml"), *sets]
    done = subprocess.run([sys.executable, "-m", "thinker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"thinker {' '.join(arguments)} failed:\n{done.stderr}")
    record: dict[str, Any] = json.loads(done.stdout)
    if unsaid := record["estimates"]["predicted"]["notes"]:
        print("\n".join(unsaid), file=sys.stderr)
    return record


if __name__ == "__main__":
    sys.exit(main())
