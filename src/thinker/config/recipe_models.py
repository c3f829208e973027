"""The LoRA file, which every backend shares, as frozen dataclasses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr
from pydantic.dataclasses import dataclass

from thinker.config.pipeline_models import MODEL_CONFIG, DatasetPaths, NonNegativeInt, PositiveInt

PromptFormat = Literal["raw", "chat"]
OverlongPolicy = Literal["error", "drop", "truncate_prompt"]


@dataclass(config=MODEL_CONFIG, frozen=True)
class ModelConfig:
    """The base model."""

    name: str
    """Hub id, local folder, or `.gguf` file. A local path is relative to this file."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""
    quantization: Literal["4bit", "8bit", "none"] | None = None
    """Loads the base model quantized by bitsandbytes: `4bit` (NF4, double quantization), `8bit`, `none`."""
    device_map: str | dict[str, str | int] | None = "auto"
    """Passed to Transformers where an accelerator is used; without effect on CPU."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$")] = "auto"
    """`auto` (CUDA, then MPS, then CPU), `cpu`, `cuda`, `cuda:N` or `mps`."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision in which the base model's weights are kept. `auto`: the precision of computation."""
    prompt_format: PromptFormat = "raw"
    """`raw`: the prompt's text as it is. `chat`: through the tokenizer's chat template."""
    hf_token: SecretStr | None = None
    """Better left to the environment (HF_TOKEN); `${NAME}` reads the variable NAME."""


@dataclass(config=MODEL_CONFIG, frozen=True)
class LoraConfig:
    """The adapter."""

    r: PositiveInt = 16
    """Rank."""
    lora_alpha: Annotated[float, Field(gt=0)] = 32.0
    """Scale: the update is multiplied by lora_alpha / r."""
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout on the adapter's input."""
    target_modules: tuple[str, ...] | str = ("q_proj", "k_proj", "v_proj", "o_proj")
    """Names of the linear layers that get an adapter, a regular expression, or `all-linear`."""
    bias: Literal["none", "all", "lora_only"] = "none"
    """Which biases are trained."""


@dataclass(config=MODEL_CONFIG, frozen=True)
class TrainingHyperparameters:
    """The optimization."""

    per_device_batch_size: PositiveInt = 2
    """Rows in a micro-batch."""
    gradient_accumulation_steps: PositiveInt = 8
    """Micro-batches in an optimizer step, on each process."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    """Peak learning rate."""
    num_epochs: Annotated[float, Field(gt=0)] = 3.0
    """Passes over the rows; a fraction stops within a pass."""
    max_steps: PositiveInt | None = None
    """At most so many optimizer steps; `num_epochs` ends training earlier where it gives fewer."""
    warmup_steps: NonNegativeInt = 0
    """Optimizer steps over which the learning rate rises from 0."""
    max_seq_length: PositiveInt = 2048
    """Longest row in tokens: prompt, completion and end-of-sequence."""
    claim_c1_weight: Annotated[float, Field(ge=0)] = 1.0
    """Loss weight of the tokens of the `CLAIM[c1]` line. Task `scifact_claims`."""
    evidence_weight: Annotated[float, Field(ge=0)] = 1.0
    """Loss weight of the tokens of the evidence lines (`CLAIM[c2]` on). Task `scifact_claims`."""
    optim: str = "adamw_torch"
    """Optimizer, by its name in Transformers."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay."""
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Clips the gradient to this norm; 0 does not clip."""
    lr_scheduler_type: str = "linear"
    """Learning-rate schedule, by its name in Transformers."""
    fp16: bool = False
    """Computes in float16. On CPU, where it cannot be honoured: bfloat16 or float32, as the guide's table says."""
    bf16: bool | None = None
    """Computes in bfloat16. Absent: where CUDA supports it."""
    gradient_checkpointing: bool = False
    """Recomputes activations in the backward pass: less memory, more time."""
    on_overlong: OverlongPolicy = "error"
    """A row longer than `max_seq_length`: `error`, `drop` it, or cut its prompt from the left (`truncate_prompt`)."""
    determinism: Literal["strict", "fast"] = "strict"
    """`strict`: same inputs, same bits on one machine. `fast`: non-deterministic kernels allowed."""


@dataclass(config=MODEL_CONFIG, frozen=True)
class DataConfig:
    """The rows to train on."""

    train_file: DatasetPaths | None = None
    """JSONL dataset, as `data_validation.path` of the pipeline file names one. Absent: that one."""
    validation_split: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction of the rows held out for the evaluation loss; a seeded choice, listed in the record."""
    shuffle: bool = True
    """Deals the rows in a new seeded order in each epoch."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Seeds the split, the order, the adapter's first weights and dropout."""


@dataclass(config=MODEL_CONFIG, frozen=True)
class OutputConfig:
    """What training writes."""

    checkpoint_dir: Path | None = None
    """Where adapter, tokenizer and model card go. Absent: `evaluation.checkpoint_dir` of the pipeline file."""
    logging_steps: PositiveInt = 10
    """Optimizer steps between two lines of the log."""
    eval_steps: PositiveInt = 100
    """Optimizer steps between two evaluation losses, where rows are held out."""
    save_steps: PositiveInt = 200
    """Optimizer steps between two intermediate checkpoints."""
    save_total_limit: PositiveInt | None = 3
    """Keeps the newest so many intermediate checkpoints."""
    report_to: str | tuple[str, ...] = "none"
    """Experiment trackers, by their names in Transformers (`tensorboard`, `wandb`, …), or `none`."""


@dataclass(config=MODEL_CONFIG, frozen=True)
class Recipe:
    """The LoRA file, with every path absolute."""

    model: ModelConfig
    """The base model."""
    lora: LoraConfig = Field(default_factory=LoraConfig)
    """The adapter."""
    training: TrainingHyperparameters = Field(default_factory=TrainingHyperparameters)
    """The optimization."""
    data: DataConfig = Field(default_factory=DataConfig)
    """The rows."""
    output: OutputConfig = Field(default_factory=OutputConfig)
    """What is written."""
