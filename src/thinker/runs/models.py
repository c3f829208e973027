"""The run record: what one run read, did and made. Its JSON is a superset of the specification's example (6.7).

A written record has every key; null where a thing is unknown or was not reached. Every text is masked when it enters.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from thinker.runs.files import clean, clean_text, spell_path

SCHEMA_VERSION: Final = 1

Status = Literal["running", "success", "failed", "interrupted"]
SuiteStatus = Literal["passed", "failed", "disabled", "skipped"]


def _text(value: Any) -> Any:
    return clean_text(value) if isinstance(value, str) else value


def _path(value: Any) -> Any:
    # A string comes from a record already written, perhaps under another current folder: it stays as it is.
    return spell_path(value) if isinstance(value, Path) else _text(value)


def _figure(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Text = Annotated[str, BeforeValidator(_text)]
RecordedPath = Annotated[str, BeforeValidator(_path)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
RunId = Annotated[str, Field(pattern=r"^\d{8}T\d{6}Z(-\d+)?$")]
Timestamp = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]
Figure = Annotated[int | float | None, BeforeValidator(_figure)]
Metrics = dict[Text, Figure | list[Figure]]
Json = Annotated[JsonValue, BeforeValidator(clean)]
Confusion = dict[Text, dict[Text, Count]]


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, json_schema_serialization_defaults_required=True
    )


class RunError(_Section):
    """What ended a run that did not succeed."""

    stage: Text
    """Stage that failed."""
    type: Text
    """Class of the exception."""
    message: Text
    """Its message, secrets masked."""


class GitState(_Section):
    """The repository that holds the pipeline file."""

    commit: Text | None = None
    """Commit checked out; null in a repository without one."""
    branch: Text | None = None
    """Branch checked out; null where HEAD is detached."""
    dirty: bool
    """Whether a tracked file differs from the commit, as `git describe --dirty` understands it."""


class Digests(_Section):
    """SHA-256 of canonical JSON with paths replaced by content hashes: moving a folder changes none."""

    config: Sha256 | None = None
    """Everything that the two configuration files say."""
    training: Sha256 | None = None
    """What shapes the adapter: rows, model, recipe, plan, library versions."""
    gate: Sha256 | None = None
    """What the gate's verdict depends on."""


class FileRecord(_Section):
    """A file, known by its content."""

    path: RecordedPath
    """Forward slashes; relative to the run's current folder where inside it."""
    sha256: Sha256
    """SHA-256 of its bytes."""
    size_bytes: Count
    """Its size."""


class InputFile(FileRecord):
    """A file that the run read."""

    role: Text
    """What the run read it as: `pipeline`, `recipe`, `dataset`, `claims_file`, `corpus_file`, `data_file`; source
    files of plugins are a `task`, `backend` or `generator`"""


class Environment(_Section):
    """Where the run ran. The host's name is left out on purpose."""

    python: Text
    """Version of Python."""
    implementation: Text
    """Implementation of Python (`CPython`)."""
    platform: Text
    """Operating system, its version and C library."""
    machine: Text
    """Architecture (`x86_64`, `arm64`)."""
    processor: Text | None = None
    """Model of the processor."""
    cpu_count: Count | None = None
    """Logical processors that this process may use."""
    threads: Count | None = None
    """Threads that torch computes one operation with; null where torch was not loaded."""
    device: Text | None = None
    """Accelerator or `cpu`; null where nothing was computed."""
    versions: dict[Text, Text] = Field(default_factory=dict)
    """Versions of the packages that results depend on, as far as they are installed."""


class SuiteCounts(_Section):
    """What pytest reported."""

    passed: Count
    """Tests that passed."""
    failed: Count
    """Tests that failed."""
    errors: Count
    """Errors in set-up, tear-down or collection."""
    skipped: Count
    """Tests skipped."""
    xfailed: Count = 0
    """Tests that failed as they should."""
    xpassed: Count = 0
    """Tests that passed though they should have failed."""
    deselected: Count = 0
    """Tests left out by markers or arguments."""
    exit_code: int | None = None
    """Exit code of pytest."""
    duration_s: Seconds
    """Seconds that the suite took."""
    args: list[Text] = Field(default_factory=list)
    """Arguments given to pytest."""


class DatasetRecord(_Section):
    """The dataset as the gate saw it."""

    path: RecordedPath | None = None
    """Its file; null where it has several."""
    sha256: Sha256
    """SHA-256 of its bytes; of several files, of the canonical JSON `{"files": [hash, …]}`."""
    size_bytes: Count
    """Its size on disk."""
    files: list[FileRecord] = Field(default_factory=list)
    """Its files, in the order read."""
    rows: Count
    """Rows checked."""
    blank_lines: Count = 0
    """Blank lines skipped."""
    complete: bool = True
    """False where `max_examples` cut the reading short."""
    errors: Count
    """Errors found."""
    warnings: Count = 0
    """Warnings found."""
    counts_by_code: dict[Text, Count] = Field(default_factory=dict)
    """How often each check spoke."""
    statistics: dict[Text, Json] = Field(default_factory=dict)
    """Figures of the checks beyond the schema: tokens, labels, duplicates, overlap with the records to evaluate."""
    duration_s: Seconds | None = None
    """Seconds that the checks took."""


class ReceiptRecord(_Section):
    """The receipt of a passed gate."""

    path: RecordedPath
    """Its file."""
    digest: Sha256
    """The gate digest, for which it holds."""
    created: Timestamp
    """When the gate passed."""
    reused: bool
    """Whether the gate passed in an earlier run, so that neither tests nor checks ran again in this one."""


class ValidationRecord(_Section):
    """The gate."""

    pytest: SuiteStatus | None = None
    """`passed`, `failed`, `disabled` (by configuration), `skipped` (by `--skip-validation`); null: not reached."""
    dataset_errors: Count | None = None
    """Errors in the dataset; null where it was not checked."""
    skipped: bool = False
    """Whether `--skip-validation` was given."""
    tests: SuiteCounts | None = None
    """Counts of the suite."""
    dataset: DatasetRecord | None = None
    """The dataset, its counts and its hash."""
    receipt: ReceiptRecord | None = None
    """What says that the gate passed; null where it did not, or where no receipt could be written."""


class BaseModelRecord(_Section):
    """A base model and what makes it that one."""

    name: Text
    """Hub id or path, as the run used it."""
    identity: dict[Text, Json] = Field(default_factory=dict)
    """Kind and content: hashes of its files, or hub id and revision."""


class Settings(_Section):
    """What the hardware was in fact asked for, once every `auto` was resolved."""

    device: Text | None = None
    """Device computed on."""
    precision: Text | None = None
    """Precision computed in."""
    threads: Count | None = None
    """Threads of one operation."""
    further: dict[Text, Json] = Field(default_factory=dict)
    """Other settings, by name."""
    resolutions: list[Text] = Field(default_factory=list)
    """Settings that could not be honoured as written, and what was done instead, as announced."""


class PerformanceRecord(_Section):
    """How fast training was; of a resumed training, the steps since it was resumed."""

    steps: Count
    """Optimizer steps measured."""
    tokens_per_second: Figure
    """Tokens through the model, over the time of the steps; padding is not counted."""
    trained_tokens_per_second: Figure
    """Tokens among them whose loss weight is not 0."""
    flops_per_second: Figure
    """Floating-point operations that the rows need, over the same time, on all devices together."""
    mfu: Figure = None
    """Model FLOP/s utilization: that, over what the devices can do at most; null where their peak is not known."""
    peak_flops: Figure = None
    """Peak FLOP/s of one device in the precision computed in; null where it is not known, as on CPU."""
    devices: Count = 1
    """Devices that computed together."""
    peak_memory_bytes: Count | None = None
    """Highest resident set of the process while it trained."""
    peak_device_memory_bytes: Count | None = None
    """Most that torch's allocator gave out on an accelerator; null on CPU."""
    seconds: dict[Text, Seconds] = Field(default_factory=dict)
    """By phase: `load`, `start`, `data`, `forward_backward`, `optimizer`, `evaluation`, `checkpoints`, `saving`."""


class TrainingRecord(_Section):
    """Training."""

    backend: Text
    """Backend that trained."""
    config: RecordedPath
    """The LoRA file."""
    checkpoint_dir: RecordedPath
    """Where the adapter lies."""
    metrics: Metrics = Field(default_factory=dict)
    """Figures at the end: `loss`, `eval_loss`, …; null where undefined or not finite."""
    base_model: BaseModelRecord | None = None
    """The model that the adapter belongs to."""
    adapter_sha256: Sha256 | None = None
    """SHA-256 of the adapter's weights file."""
    steps: Count | None = None
    """Optimizer steps taken."""
    epochs: Seconds | None = None
    """Passes over the rows."""
    rows: Count | None = None
    """Rows trained on."""
    held_out_rows: list[Count] = Field(default_factory=list)
    """Rows that `validation_split` kept from training, by index from 0."""
    dropped_rows: list[Count] = Field(default_factory=list)
    """Rows left out as too long (`on_overlong: drop`), by index from 0."""
    tokens: Count | None = None
    """Tokens that went through the model."""
    trained_tokens: Count | None = None
    """Tokens among them whose loss weight is not 0."""
    settings: Settings | None = None
    """Precision, device and the like, as resolved."""
    resumed_from: RecordedPath | None = None
    """Checkpoint that training went on from."""
    stopped_early: bool = False
    """Whether early stopping ended training before the plan's last step."""
    best_step: Count | None = None
    """Optimizer step of the lowest evaluation loss; null without evaluations."""
    best_saved: bool = False
    """Whether the adapter is the one of that step (`load_best_model_at_end`)."""
    loss_first_quarter: Figure = None
    """Mean training loss of the first quarter of steps."""
    loss_last_quarter: Figure = None
    """Mean training loss of the last quarter of steps."""
    performance: PerformanceRecord | None = None
    """Speed, memory and time by phase; null where the backend does not say."""
    log_history: RecordedPath | None = None
    """Step log (JSONL): loss, learning rate and gradient norm by step."""


class PlanRecord(_Section):
    """What training was to do, known before its first step."""

    steps: Count
    """Optimizer steps."""
    rows: Count
    """Rows to train on."""
    held_out_rows: Count
    """Rows that `validation_split` keeps from training."""
    tokens: Count
    """Tokens that go through the model, over all steps."""
    trained_tokens: Count
    """Tokens among them whose loss weight is not 0."""
    longest_row_tokens: Count
    """Length of the longest row."""


class Prediction(_Section):
    """What training was expected to take."""

    steps: Count
    """Optimizer steps."""
    tokens: Count
    """Tokens that go through the model, over all steps."""
    trained_tokens: Count
    """Tokens among them whose loss weight is not 0."""
    peak_memory_bytes: Count | None = None
    """Highest resident set of the process; null where it could not be said."""
    memory_parts: dict[Text, Count] = Field(default_factory=dict)
    """What that is made of: `libraries`, `weights`, `activations`, …; after a probe `probed` for all but libraries."""
    device_memory_bytes: Count | None = None
    """Most that torch's allocator gives out on an accelerator; null on CPU."""
    device_parts: dict[Text, Count] = Field(default_factory=dict)
    """What that is made of."""
    seconds: Seconds | None = None
    """Time of all steps, without loading the model and saving the adapter; null without a probe."""
    source: Literal["formula", "probe"] | None = None
    """What memory and time come from; null where neither is known."""
    notes: list[Text] = Field(default_factory=list)
    """What could not be said, and why."""


class Measurement(_Section):
    """What training took."""

    steps: Count
    """Optimizer steps."""
    peak_memory_bytes: Count
    """Highest resident set of the process while it trained."""
    sampled: bool = False
    """Whether that was looked at every 10 ms, and not kept by the kernel: a shorter peak may be missed."""
    device_memory_bytes: Count | None = None
    """Most that torch's allocator gave out on an accelerator; null on CPU."""
    seconds: Seconds | None = None
    """Time of all steps, without loading the model and saving the adapter; null where the backend does not say."""


class EstimatesRecord(_Section):
    """Prediction beside measurement."""

    predicted: Prediction
    """Said before training."""
    measured: Measurement | None = None
    """Seen in training; null where it was not reached."""
    ratios: dict[Text, Figure] = Field(default_factory=dict)
    """Predicted over measured, for each figure of both."""


class AdapterRecord(_Section):
    """An adapter, known by its weights."""

    path: RecordedPath
    """Its folder."""
    sha256: Sha256 | None = None
    """SHA-256 of its weights file."""


class Sampling(_Section):
    """How completions were sampled."""

    temperature: Annotated[float, Field(ge=0)]
    """Temperature; 0 is greedy."""
    top_p: Annotated[float, Field(gt=0, le=1)]
    """Nucleus."""
    max_new_tokens: Count
    """Longest completion, in tokens."""
    seed: int
    """With a record's id, the seed of that record's generator."""
    constrain: Text = "none"
    """Constrained decoding."""


class EvaluationRecord(_Section):
    """Evaluation."""

    metrics: Metrics = Field(default_factory=dict)
    """Figures of the task; null where undefined (a rate over nothing)."""
    output: RecordedPath | None = None
    """Predictions (JSONL)."""
    base_metrics: Metrics | None = None
    """The same figures of the base model, where `compare_base` asked for them."""
    confusion: Confusion | None = None
    """Gold label, predicted label, count."""
    backend: Text | None = None
    """What generated."""
    base_model: BaseModelRecord | None = None
    """The model that generated."""
    adapter: AdapterRecord | None = None
    """The adapter on it; null where the base model was evaluated alone."""
    records: Count | None = None
    """Records evaluated."""
    sampling: Sampling | None = None
    """Sampling settings."""
    batch_size: Count | None = None
    """Records generated at a time."""
    settings: Settings | None = None
    """Precision, device and the like, as resolved."""


class RunRecord(_Section):
    """One run of Thinker."""

    schema_version: Literal[1] = SCHEMA_VERSION
    """Version of this format."""
    run_id: RunId
    """Name of the record and of its folder."""
    timestamp: Timestamp
    """When the run started (UTC)."""
    finished_at: Timestamp | None = None
    """When it ended; null while it runs, or where it was killed."""
    status: Status = "running"
    """How it stands."""
    exit_code: int | None = None
    """What the command line exited with."""
    error: RunError | None = None
    """What ended it, where it did not succeed."""
    command: Text
    """Subcommand: `validate`, `train`, `eval`, `run`, …"""
    argv: list[Text] = Field(default_factory=list)
    """Command line, secrets masked."""
    config: RecordedPath
    """The pipeline file."""
    overrides: list[Text] = Field(default_factory=list)
    """`--set` expressions, secrets masked."""
    git_commit: Text | None = None
    """Commit of the repository that holds the pipeline file; null outside git."""
    git: GitState | None = None
    """More on that repository."""
    digests: Digests = Field(default_factory=Digests)
    """The three digests."""
    training_inputs: dict[Text, Json] | None = None
    """What the training digest is taken of; null where training was not reached."""
    inputs: list[InputFile] = Field(default_factory=list)
    """Files read."""
    seeds: dict[Text, int] = Field(default_factory=dict)
    """Seeds, by what they seed."""
    environment: Environment | None = None
    """Machine and packages."""
    validation: ValidationRecord | None = None
    """The gate; null where it was not reached."""
    plan: PlanRecord | None = None
    """What training was to do."""
    estimates: EstimatesRecord | None = None
    """What training was expected to take, and what it took. `run --dry-run` ends with plan and prediction."""
    training: TrainingRecord | None = None
    """Training; null where it was not reached."""
    evaluation: EvaluationRecord | None = None
    """Evaluation; null where it was not reached."""
    timings_s: dict[Text, Seconds] = Field(default_factory=dict)
    """Seconds, by stage."""
    warnings: list[Text] = Field(default_factory=list)
    """Warnings shown, in order, each once."""
    artifacts: dict[Text, FileRecord] = Field(default_factory=dict)
    """Files made, by name."""
