"""One contender in a process of its own, for bench_train.py: trains a case and writes what it took as JSON.

Run: python benchmarks/train_peers.py NAME CASE.json FOLDER

All of them train through a `transformers.Trainer`, so one stopwatch, which is a callback of every Trainer made here,
times them alike. Each is set up as its documentation shows for this case: LoRA on a base model in bfloat16, loss on the
completions alone, PyTorch's own attention (`sdpa`). Only what makes the trainings equal is changed: no shuffling, no
cut, and no gradient checkpointing, which costs time and is the default of TRL and LLaMA-Factory.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import json
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from train_case import Case, read_rows

IGNORED = -100


def thinker(case: Case, folder: Path, *, determinism: str = "strict") -> dict[str, Any]:
    """`thinker train` on a pipeline file, with everything that a user gets: gate, record, deterministic kernels."""
    from thinker.cli import main

    longest = max(len(ids) for ids, _ in case.encoded())
    max_steps = f"\n  max_steps: {case.max_steps}" if case.max_steps else ""
    (folder / "pipeline.yaml").write_text(
        f"task: prompt_completion\ntests:\n  enabled: false\ndata_validation:\n  path: {case.rows}\n"
        "training:\n  backend: hf_peft\n  config_path: lora.yaml\nruns_dir: runs\n",
        encoding="utf-8",
    )
    (folder / "lora.yaml").write_text(
        f"""\
model:
  name: {case.model}
  device: {case.device}
lora:
  r: {case.rank}
  lora_alpha: {case.alpha}
  target_modules: [{", ".join(case.targets)}]
training:
  per_device_batch_size: {case.micro_batch}
  gradient_accumulation_steps: {case.accumulation}
  num_epochs: {case.epochs}{max_steps}
  learning_rate: {case.learning_rate}
  lr_scheduler_type: {case.scheduler}
  optim: {case.optimizer}
  bf16: true
  max_seq_length: {max(2048, longest)}
  determinism: {determinism}
data:
  shuffle: false
  seed: {case.seed}
output:
  checkpoint_dir: adapter
  logging_steps: 1
""",
        encoding="utf-8",
    )
    try:
        main(["--config", str(folder / "pipeline.yaml"), "train"])
    except SystemExit as stop:
        if stop.code:
            raise RuntimeError(f"thinker train ended with exit code {stop.code}") from stop
    (record_file,) = (folder / "runs").glob("*.json")
    record = json.loads(record_file.read_text(encoding="utf-8"))
    lines = (record_file.with_suffix("") / "steps.jsonl").read_text(encoding="utf-8").splitlines()
    encoded = [case.encoded()[row] for step in case.step_rows() for row in step]
    expected = (sum(len(ids) for ids, _ in encoded), sum(len(ids) - prompt for ids, prompt in encoded))
    return {
        "adapter": str(folder / "adapter"),
        "losses": [line["loss"] for line in map(json.loads, lines) if "loss" in line],
        "same_ids": (record["plan"]["tokens"], record["plan"]["trained_tokens"]) == expected,
        "train_seconds": record["training"]["metrics"]["train_seconds"],
    }


def plain_trainer(case: Case, folder: Path) -> dict[str, Any]:
    """`transformers.Trainer` on token ids; micro-batches padded to their longest row, `-100` on prompts and padding."""
    import torch
    from datasets import Dataset
    from peft import get_peft_model
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    tokenizer = AutoTokenizer.from_pretrained(case.model)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    rows = [{"input_ids": ids, "labels": _labels(ids, prompt)} for ids, prompt in case.encoded()]
    set_seed(case.seed)
    model = AutoModelForCausalLM.from_pretrained(case.model, dtype=torch.bfloat16, attn_implementation="sdpa")
    model.config.use_cache = False
    Trainer(
        model=get_peft_model(model.to(case.device), _lora(case)),
        args=TrainingArguments(**_arguments(case, folder)),
        train_dataset=Dataset.from_list(rows),
        data_collator=DataCollatorForSeq2Seq(tokenizer, padding=True, label_pad_token_id=IGNORED),
        processing_class=tokenizer,
    ).train()
    return {"adapter": _last_checkpoint(folder)}


def trl(case: Case, folder: Path, **further: Any) -> dict[str, Any]:
    """TRL's `SFTTrainer` on rows of prompt and completion, `completion_only_loss`."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    arguments = _arguments(case, folder) | {"gradient_checkpointing": False, **further}
    SFTTrainer(
        model=case.model,
        args=SFTConfig(
            completion_only_loss=True, packing=False, max_length=None,
            model_init_kwargs={"dtype": "bfloat16", "attn_implementation": "sdpa"}, **arguments,
        ),
        train_dataset=Dataset.from_list(read_rows(Path(case.rows))),
        processing_class=AutoTokenizer.from_pretrained(case.model),
        peft_config=_lora(case),
    ).train()  # fmt: skip
    return {"adapter": _last_checkpoint(folder)}


def llamafactory(case: Case, folder: Path) -> dict[str, Any]:
    """LLaMA-Factory's `run_exp`, what `llamafactory-cli train` calls, with a template that adds nothing but the end."""
    from llamafactory.data.template import register_template
    from llamafactory.train.tuner import run_exp

    register_template(name="bench")  # its own `empty` leaves the end-of-sequence out
    columns = {"prompt": "prompt", "response": "completion"}
    entry = {"bench": {"file_name": case.rows, "formatting": "alpaca", "columns": columns}}
    (folder / "dataset_info.json").write_text(json.dumps(entry), encoding="utf-8")
    arguments = _arguments(case, folder)
    del arguments["train_sampling_strategy"]
    run_exp({
        **arguments,
        "stage": "sft", "do_train": True, "model_name_or_path": case.model, "template": "bench", "flash_attn": "sdpa",
        "finetuning_type": "lora", "lora_rank": case.rank, "lora_alpha": case.alpha, "lora_dropout": 0.0,
        "lora_target": ",".join(case.targets), "dataset_dir": str(folder), "dataset": "bench",
        "cutoff_len": max(2048, *(len(ids) for ids, _ in case.encoded())), "disable_shuffling": True,
        "disable_gradient_checkpointing": True, "overwrite_cache": True,
    })  # fmt: skip
    return {"adapter": arguments["output_dir"]}


CONTENDERS: dict[str, Callable[[Case, Path], dict[str, Any]]] = {
    "thinker": thinker,
    "thinker-fast": lambda case, folder: thinker(case, folder, determinism="fast"),
    "trainer": plain_trainer,
    "trl": trl,
    "trl-padding-free": lambda case, folder: trl(case, folder, padding_free=True),
    "trl-checkpointing": lambda case, folder: trl(case, folder, gradient_checkpointing=True),
    "llamafactory": llamafactory,
}


def _arguments(case: Case, folder: Path) -> dict[str, Any]:
    """What all `TrainingArguments` are told."""
    return {
        "output_dir": str(folder / "out"),
        "per_device_train_batch_size": case.micro_batch,
        "gradient_accumulation_steps": case.accumulation,
        "num_train_epochs": case.epochs,
        "max_steps": case.max_steps or -1,
        "learning_rate": case.learning_rate,
        "lr_scheduler_type": case.scheduler,
        "optim": case.optimizer,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "bf16": True,
        "use_cpu": case.device == "cpu",
        "seed": case.seed,
        "train_sampling_strategy": "sequential",
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
    }


def _lora(case: Case) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=case.rank, lora_alpha=case.alpha, lora_dropout=0.0, target_modules=list(case.targets), task_type="CAUSAL_LM"
    )


def _labels(ids: Sequence[int], prompt_length: int) -> list[int]:
    return [IGNORED] * prompt_length + list(ids[prompt_length:])


def _last_checkpoint(folder: Path) -> str:
    """The Trainer saves at the end by default."""
    return str(max((folder / "out").glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2])))


def _spare_image_and_sound() -> None:
    """Let LLaMA-Factory start where torchvision and torchaudio are builds for CUDA and torch is not: it trains text."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, OSError, RuntimeError):
        sys.modules["torchvision"] = None  # type: ignore[assignment]
    try:
        import torchaudio  # noqa: F401
    except (ImportError, OSError, RuntimeError):
        stand_in = types.ModuleType("torchaudio")
        stand_in.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
        sys.modules["torchaudio"] = stand_in


def _same_ids(case: Case, dataset: Any) -> bool:
    """Whether a contender's own encoding of the rows, and what it takes for completions, are Thinker's."""
    expected = [(ids, _labels(ids, prompt)) for ids, prompt in case.encoded()]
    return [(list(row["input_ids"]), list(row["labels"])) for row in dataset] == expected


def main() -> None:
    """Train, and write `result.json` into the folder."""
    name, case, folder = sys.argv[1], Case.read(Path(sys.argv[2])), Path(sys.argv[3])
    if name == "llamafactory":
        _spare_image_and_sound()
    from train_stopwatch import watch_trainers

    stopwatch = watch_trainers()
    found = CONTENDERS[name](case, folder)
    if "same_ids" not in found:
        found["same_ids"] = _same_ids(case, stopwatch.dataset)
    packages = ("torch", "transformers", "peft", "accelerate", "trl", "llamafactory", "thinker")
    result = {
        "losses": stopwatch.losses,
        "step_ends_s": [ended - stopwatch.made for ended in stopwatch.ended],
        "train_peak_bytes": stopwatch.peak_bytes,
        "device_peak_bytes": stopwatch.device_peak_bytes,
        "versions": {each: importlib.metadata.version(each) for each in packages if _installed(each)},
        **found,
    }
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    main()
