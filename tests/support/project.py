"""A small experiment on disk, whole and valid; tests break one thing of it at a time."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Norway": "Oslo", "Japan": "Tokyo", "Peru": "Lima",
    "Egypt": "Cairo", "Cuba": "Havana", "Kenya": "Nairobi", "Ghana": "Accra", "Chad": "N'Djamena", "Iran": "Tehran",
}  # fmt: skip

PIPELINE = """\
task: prompt_completion

tests:
  path: tests
  args: ["-q"]

data_validation:
  path: data/train.jsonl

training:
  backend: hf_peft
  config_path: lora.yaml

evaluation:
  data_file: data/eval.jsonl
  temperature: 0
  max_new_tokens: 6
  output_path: out/predictions.jsonl

runs_dir: runs
"""

LORA = """\
model:
  name: MODEL
  device: cpu

lora:
  r: 4
  lora_alpha: 8

training:
  per_device_batch_size: 2
  gradient_accumulation_steps: 2
  learning_rate: 1e-2
  num_epochs: 2
  max_seq_length: 128

data:
  seed: 7

output:
  checkpoint_dir: adapter
  logging_steps: 1
  save_steps: 100
"""


@dataclass(frozen=True)
class Project:
    """A folder with `pipeline.yaml`, and ways to change it and to run `thinker` there as a user would."""

    root: Path

    def replace(self, name: str, old: str, new: str) -> None:
        """Replace text in a file; the text must be there."""
        path = self.root / name
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def thinker(
        self, *args: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, prefix: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """`python -m thinker ARGS` in the project's folder; `prefix` is a command that starts commands (`nice`)."""
        return subprocess.run(
            [*prefix, sys.executable, "-m", "thinker", *args],
            cwd=cwd or self.root, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=300,
            check=False,
        )  # fmt: skip

    def run_here(self, *args: str) -> int:
        """The command line in this process, which has torch loaded already; returns the exit code."""
        from thinker.cli.entry import run

        before = Path.cwd()
        os.chdir(self.root)
        try:
            return run(list(args))
        finally:
            os.chdir(before)

    def adapter_sha256(self, name: str = "adapter") -> str:
        return hashlib.sha256((self.root / name / "adapter_model.safetensors").read_bytes()).hexdigest()

    def steps(self) -> list[dict[str, float]]:
        """The newest run's step log, optimizer steps only."""
        log = max((self.root / "runs").glob("*/steps.jsonl"), key=lambda path: path.stat().st_mtime_ns)
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        return [line for line in lines if "loss" in line]

    def record(self) -> dict[str, Any]:
        """The newest run record."""
        newest = max((self.root / "runs").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        found: dict[str, Any] = json.loads(newest.read_text(encoding="utf-8"))
        return found


def make_project(root: Path, model: Path) -> Project:
    """A question/answer experiment with its own test suite, on the model in the folder `model`."""
    project = Project(root)
    project.write("pipeline.yaml", PIPELINE)
    project.write("lora.yaml", LORA.replace("MODEL", model.as_posix()))
    rows = [{"prompt": f"What is the capital of {c}?\n", "completion": city} for c, city in CAPITALS.items()]
    project.write("data/train.jsonl", jsonl(rows[:10]))
    project.write("data/eval.jsonl", jsonl(rows[8:]))
    project.write("tests/test_data.py", "def test_passes():\n    assert True\n")
    return project


def jsonl(rows: Sequence[Mapping[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
