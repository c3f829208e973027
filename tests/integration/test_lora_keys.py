"""Every key of the LoRA file does what it says, seen in what training computes and writes."""

import json
from pathlib import Path

import pytest
from support.project import Project


def train(project: Project, *settings: str) -> dict:
    options = [part for setting in settings for part in ("--set", setting)]
    assert project.run_here("train", "-q", *options) == 0
    return project.record()


def adapter_config(project: Project) -> dict:
    return json.loads((project.root / "adapter/adapter_config.json").read_text(encoding="utf-8"))


def tensor_names(project: Project) -> set[str]:
    from safetensors import safe_open

    with safe_open(project.root / "adapter/adapter_model.safetensors", framework="pt") as file:
        return set(file.keys())


def test_the_adapters_shape_follows_the_lora_section(project: Project) -> None:
    train(
        project, "lora.r=3", "lora.lora_alpha=12", "lora.lora_dropout=0.25", "lora.target_modules=[q_proj, down_proj]"
    )
    config = adapter_config(project)
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (3, 12, 0.25)
    assert {name.split(".")[-3] for name in tensor_names(project)} == {"q_proj", "down_proj"}


def test_target_modules_may_be_all_linear_or_a_pattern(project: Project) -> None:
    train(project, "lora.target_modules=all-linear")
    assert {"gate_proj", "up_proj", "o_proj"} <= {name.split(".")[-3] for name in tensor_names(project)}
    train(project, r"lora.target_modules='.*layers\.1\.self_attn\.k_proj'")
    assert len(tensor_names(project)) == 2
    assert all("layers.1.self_attn.k_proj" in name for name in tensor_names(project))


def test_a_warm_up_and_a_schedule_shape_the_learning_rate(project: Project) -> None:
    train(project, "training.warmup_steps=2", "training.lr_scheduler_type=constant_with_warmup")
    assert [step["learning_rate"] for step in project.steps()] == [0.0, 0.005, 0.01, 0.01, 0.01, 0.01]
    train(project, "training.lr_scheduler_type=cosine")
    rates = [step["learning_rate"] for step in project.steps()]
    assert rates[0] == 0.01
    assert rates[3] == pytest.approx(0.005)


@pytest.mark.parametrize(
    "setting",
    ["training.optim=sgd", "training.weight_decay=0.5", "training.max_grad_norm=0.001", "training.learning_rate=1e-3",
     "lora.lora_dropout=0.3", "data.seed=8", "data.shuffle=false", "training.per_device_batch_size=1",
     "lora.lora_alpha=16"],
)  # fmt: skip
def test_each_of_these_changes_the_adapter(project: Project, setting: str) -> None:
    train(project)
    before = project.adapter_sha256()
    train(project)
    assert project.adapter_sha256() == before
    train(project, setting)
    assert project.adapter_sha256() != before


def test_gradient_checkpointing_changes_nothing_but_memory(project: Project) -> None:
    train(project)
    before = project.adapter_sha256()
    train(project, "training.gradient_checkpointing=true")
    assert project.adapter_sha256() == before


def test_biases_are_trained_where_asked(project: Project, tmp_path: Path) -> None:
    train(project, "lora.bias=all")
    assert adapter_config(project)["bias"] == "all"


def test_saves_come_every_save_steps_and_the_newest_are_kept(project: Project) -> None:
    train(project, "output.save_steps=1", "output.save_total_limit=2")
    steps = project.root / "adapter/steps"
    kept = {path.name for path in steps.glob("*/checkpoint-*")}
    assert kept == {"checkpoint-5", "checkpoint-6"}


def test_evaluation_losses_come_every_eval_steps(project: Project) -> None:
    record = train(project, "data.validation_split=0.2", "output.eval_steps=2")
    log = (project.root / "runs" / record["run_id"] / "steps.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["step"] for line in lines if "eval_loss" in line] == [2, 4]


def test_the_log_speaks_every_logging_steps(project: Project, capfd) -> None:
    assert project.run_here("train", "--set", "output.logging_steps=3") == 0
    said = capfd.readouterr().err
    assert [n for n in range(1, 7) if f"step {n}/6:" in said] == [3, 6]


def test_max_steps_ends_training(project: Project) -> None:
    assert train(project, "training.max_steps=2")["training"]["steps"] == 2


def test_fp16_on_cpu_is_resolved_announced_and_recorded(project: Project) -> None:
    record = train(project, "training.fp16=true")
    assert any("training.fp16" in warning for warning in record["warnings"])
    assert record["training"]["settings"]["precision"] in ("bfloat16", "float32")
    assert record["training"]["settings"]["resolutions"]


def test_bf16_on_cpu_computes_in_bfloat16_where_the_cpu_does(project: Project) -> None:
    import torch

    from thinker.modeling.devices import has_native_bf16

    expected = "bfloat16" if has_native_bf16(torch.device("cpu")) else "float32"
    assert train(project, "training.bf16=true")["training"]["settings"]["precision"] == expected


@pytest.mark.parametrize("quantization", ["4bit", "8bit"])
def test_a_quantized_base_model_trains_and_evaluates(project: Project, quantization: str) -> None:
    assert project.run_here("run", "-q", "--set", f"model.quantization={quantization}") == 0
    record = project.record()
    assert record["training"]["settings"]["further"]["quantization"] == quantization
    assert record["evaluation"]["metrics"]["total"] == 4


def test_a_tracker_is_reported_to(project: Project, capfd) -> None:
    code = project.run_here("train", "--set", "output.report_to=no_such_tracker")
    assert code == 2
    assert "output.report_to" in capfd.readouterr().err


@pytest.mark.parametrize(("key", "name"), [("training.optim", "adam_w"), ("training.lr_scheduler_type", "cosin")])
def test_an_unknown_name_is_refused_with_a_suggestion(project: Project, key: str, name: str, capfd) -> None:
    assert project.run_here("train", "--set", f"{key}={name}") == 2
    assert "did you mean" in capfd.readouterr().err


def test_a_gguf_model_trains_as_well_as_its_folder(project: Project) -> None:
    """The real GGUF file goes through in tests/integration/test_smollm2.py; this is the message for a broken one."""
    project.write("broken.gguf", "not a model")
    assert project.run_here("train", "--set", "model.name=broken.gguf") == 2
