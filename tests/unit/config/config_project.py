"""A small experiment on disk for the tests of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from thinker.config import Experiment, load_experiment
from thinker.errors import ConfigError

PIPELINE = """\
tests:
  path: suite
data_validation:
  path: data.jsonl
training:
  backend: hf_peft
  config_path: lora.yaml
evaluation:
  base_model: org/model
  checkpoint_dir: out/adapter
  claims_file: claims.jsonl
  corpus_file: corpus.jsonl
"""
LORA = """\
model:
  name: org/model
training:
  learning_rate: 2e-4
data:
  train_file: data.jsonl
output:
  checkpoint_dir: out/adapter
"""


class Project:
    """Files of one experiment; `load` and `problems` read them as a command would."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "suite").mkdir(parents=True)
        self.write("suite/test_ok.py", "def test_ok(): pass\n")
        for name in ("data.jsonl", "claims.jsonl", "corpus.jsonl"):
            self.write(name, f'{{"file": "{name}"}}\n')
        self.pipeline(PIPELINE)
        self.lora(LORA)

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        return path

    def pipeline(self, text: str, old: str | None = None) -> None:
        """Write the pipeline file, or replace `old` in it by `text`."""
        self._edit("pipeline.yaml", text, old)

    def lora(self, text: str, old: str | None = None) -> None:
        """Write the LoRA file, or replace `old` in it by `text`."""
        self._edit("lora.yaml", text, old)

    def load(self, command: Any = "run", **options: Any) -> Experiment:
        return load_experiment(self.root / "pipeline.yaml", command=command, **options)

    def problems(self, command: Any = "run", **options: Any) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.load(command, **options)
        assert str(caught.value) == "\n".join(caught.value.problems)
        return list(caught.value.problems)

    def problem(self, command: Any = "run", **options: Any) -> str:
        problems = self.problems(command, **options)
        assert len(problems) == 1, problems
        return problems[0]

    def _edit(self, name: str, text: str, old: str | None) -> None:
        if old is not None:
            before = (self.root / name).read_text(encoding="utf-8")
            assert before.count(old) == 1, f"{old!r} in {name}"
            text = before.replace(old, text)
        self.write(name, text)
