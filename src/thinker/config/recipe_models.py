"""The LoRA file, which every backend shares, as frozen dataclasses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, WithJsonSchema
from pydantic.dataclasses import dataclass

from thinker.config.pipeline_models import MODEL_CONFIG, DatasetPaths, NonNegativeInt, PositiveInt

PromptFormat = Literal["raw", "chat"]
OverlongPolicy = Literal["error", "drop", "truncate_prompt"]
Strategy = Literal["steps", "epoch", "no"]
Argument = bool | int | float | str
FIRST_WEIGHTS = r"^(gaussian|orthogonal|olora|pissa|pissa_niter_[1-9]\d*)$"
# `recipe_rules` checks it, in better words.
FirstWeights = Annotated[str, WithJsonSchema({"type": "string", "pattern": FIRST_WEIGHTS})]
# Beginnings of `lora.init_lora_weights` that take a part out of the base model's weights.
CHANGE_THE_BASE = ("pissa", "olora")


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
    use_rslora: bool = False
    """Rank-stabilized LoRA: the update is multiplied by lora_alpha / √r instead."""
    use_dora: bool = False
    """DoRA: beside the update, the length of each output's weights is trained. More time and memory."""
    init_lora_weights: bool | FirstWeights = True
    """First weights: `true` (A random, B zero), `false` (both random), `gaussian`, `orthogonal`, `olora`, `pissa` or
    `pissa_niter_N` (fast SVD of N iterations). After `olora` and `pissa` the adapter is saved with twice the rank,
    to fit the base model as it was."""
    exclude_modules: tuple[str, ...] | str = ()
    """Layers that get no adapter though `target_modules` names them: ends of names, or a regular expression."""
    layers_to_transform: tuple[NonNegativeInt, ...] | None = None
    """Numbers of the blocks, from 0, whose layers get an adapter. Absent: all."""
    layers_pattern: tuple[str, ...] | str | None = None
    """Name of the list of blocks that `layers_to_transform` counts, where the model has several."""
    rank_pattern: dict[str, PositiveInt] = Field(default_factory=dict)
    """Ranks other than `r`, by end of a layer's name or regular expression for it."""
    alpha_pattern: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Values other than `lora_alpha`, named like those of `rank_pattern`."""
    modules_to_save: tuple[str, ...] = ()
    """Modules that are trained whole and saved with the adapter (`lm_head`, `embed_tokens`), by ends of names."""


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
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The same as a fraction of all steps; one of the two may be given."""
    max_seq_length: PositiveInt = 2048
    """Longest row in tokens: prompt, completion and end-of-sequence."""
    claim_c1_weight: Annotated[float, Field(ge=0)] = 1.0
    """Loss weight of the tokens of the `CLAIM[c1]` line. Task `scifact_claims`."""
    evidence_weight: Annotated[float, Field(ge=0)] = 1.0
    """Loss weight of the tokens of the evidence lines (`CLAIM[c2]` on). Task `scifact_claims`."""
    optim: str = "adamw_torch"
    """Optimizer, by its name in Transformers."""
    optim_args: dict[str, Argument] = Field(default_factory=dict)
    """Further arguments of the optimizer, by name, such as `momentum` of `sgd`."""
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the mean of gradients, of optimizers that have one."""
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the mean of squared gradients."""
    adam_epsilon: Annotated[float, Field(ge=0)] = 1e-8
    """Added to the root of that mean."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay."""
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Clips the gradient to this norm; 0 does not clip."""
    lr_scheduler_type: str = "linear"
    """Learning-rate schedule, by its name in Transformers."""
    lr_scheduler_kwargs: dict[str, Argument] = Field(default_factory=dict)
    """Further arguments of the schedule, by name, such as `num_cycles` of `cosine_with_restarts`."""
    neftune_noise_alpha: Annotated[float, Field(gt=0)] | None = None
    """NEFTune: noise of this strength is added to the embeddings while training; 5 to 15 are usual."""
    early_stopping_patience: PositiveInt | None = None
    """Ends training after so many evaluations in a row without a better evaluation loss."""
    early_stopping_threshold: Annotated[float, Field(ge=0)] = 0.0
    """By how much a loss must be below the best one to count as better."""
    load_best_model_at_end: bool = False
    """Saves the adapter of the lowest evaluation loss instead of the last one."""
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
    eval_strategy: Strategy = "steps"
    """When the loss of the held-out rows is computed: every `eval_steps`, after each `epoch`, or `no`; in every
    case at the end too."""
    eval_steps: PositiveInt = 100
    """Optimizer steps between two evaluation losses, where rows are held out."""
    save_strategy: Strategy = "steps"
    """When an intermediate checkpoint is written: every `save_steps`, after each `epoch`, or `no`."""
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
