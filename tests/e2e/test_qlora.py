"""QLoRA on a CPU, from the command line: trains, resumes exactly, evaluates, merges."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from support.project import Project, make_project

# A backend that kills its own process in the step that a file names.
DEADLY = """
import os
import signal
from transformers import TrainerCallback
from thinker.training.hf_peft.backend import HfPeftBackend

class Kill(TrainerCallback):
    def __init__(self, place):
        self.at = int(place.read_text()) if place.is_file() else None

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step + 1 == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

def create(config, context):
    return HfPeftBackend(context, callbacks=[Kill(config.config_path.with_name("kill.txt"))])
"""
# An evaluation loss after every step: whatever measuring it did to the model would show in the next.
RECIPE = """
data:
  seed: 7
  validation_split: 0.2
"""
OUTPUT = """
output:
  checkpoint_dir: adapter
  eval_steps: 1
"""


def quantized(root: Path, model: Path, quantization: str, bf16: str) -> Project:
    project = make_project(root, model)
    project.write("deadly.py", DEADLY)
    project.replace("pipeline.yaml", "backend: hf_peft", "backend: deadly:create")
    project.replace("pipeline.yaml", "evaluation:\n", "evaluation:\n  backend: hf_peft\n")
    project.replace("lora.yaml", "  device: cpu", f"  device: cpu\n  quantization: {quantization}")
    project.replace("lora.yaml", "num_epochs: 2", f"num_epochs: 4\n  bf16: {bf16}")
    project.replace("lora.yaml", "  r: 4", "  r: 4\n  lora_dropout: 0.1")
    project.replace("lora.yaml", "\ndata:\n  seed: 7\n", RECIPE)
    project.replace("lora.yaml", "\noutput:\n  checkpoint_dir: adapter\n", OUTPUT)
    project.replace("lora.yaml", "save_steps: 100", "save_steps: 2")
    return project


def done(project: Project, *args: str) -> str:
    finished = project.thinker(*args)
    assert finished.returncode == 0, finished.stderr
    assert "kernels" not in finished.stderr
    return finished.stdout


def completions(project: Project) -> list[str]:
    lines = (project.root / "out/predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["completion"] for line in lines]


def merged(project: Project) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done(project, "merge", "--out", "merged", "--json"))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("quantization", "bf16"), [("4bit", "false"), ("4bit", "true"), ("8bit", "false")])
def test_a_quantized_base_model_from_the_first_step_to_merged_weights(
    quantization: str, bf16: str, tmp_path: Path, tiny_model: Path
) -> None:
    from safetensors.torch import load_file

    whole = quantized(tmp_path / "whole", tiny_model, quantization, bf16)
    done(whole, "run")
    record = whole.record()
    losses = record["training"]["metrics"]
    assert losses["last_quarter_loss"] < losses["first_quarter_loss"] - 0.1
    assert losses["eval_loss"] == pytest.approx(losses["eval_loss"])
    assert record["evaluation"]["metrics"]["total"] == 4
    weights = load_file(whole.root / "adapter/adapter_model.safetensors")
    assert {str(tensor.dtype) for tensor in weights.values()} == {"torch.float32"}

    killed = quantized(tmp_path / "killed", tiny_model, quantization, bf16)
    killed.write("kill.txt", "4")
    assert killed.thinker("train").returncode == -signal.SIGKILL
    (killed.root / "kill.txt").unlink()
    done(killed, "train")
    assert killed.record()["training"]["resumed_from"] is not None
    assert killed.adapter_sha256() == whole.adapter_sha256()

    found = merged(whole)
    assert found["quantization"] == quantization
    assert "quantization" not in (whole.root / "merged/config.json").read_text(encoding="utf-8")
    if (quantization, bf16) == ("4bit", "false"):  # nothing is rounded then
        assert found["parity"]["max_logit_difference"] < 1e-5
        expected = completions(whole)
        done(whole, "eval", "--skip-validation", "--set", "model.name=merged", "--set", "model.quantization=none",
             "--set", "output.checkpoint_dir=null", "--set", "pipeline.evaluation.checkpoint_dir=null")  # fmt: skip
        assert completions(whole) == expected
