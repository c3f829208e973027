"""The pipeline file as frozen dataclasses. The text under a field is its documentation, everywhere it is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

# `strict`: a quoted number is not a number. `extra="forbid"`: an unknown key is an error.
MODEL_CONFIG: Final = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)

FieldType = Literal["string", "integer", "number", "boolean", "object", "array", "null", "any"]
CheckLevel = Literal["error", "warn", "off"]
PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
Scalar = str | int | float | bool | None
# One path as it stands; the files of a pattern or a list once the configuration has been read.
DatasetPaths = Path | tuple[Path, ...]


@dataclass(config=MODEL_CONFIG, frozen=True)
class TestSuiteConfig:
    """The pytest suite that must pass before anything expensive runs."""

    __test__ = False

    path: Path | None = None
    """Test file or folder. Required unless `enabled` is false."""
    markers: str | None = None
    """Marker expression, as `pytest -m` takes it."""
    args: tuple[str, ...] = ()
    """Further pytest arguments."""
    inputs: tuple[Path, ...] = ()
    """Files, folders and patterns (`data/**/*.csv`) that the tests read, as far as Thinker does not see them do so:
    those that other programs or C libraries open. A change in one reruns the gate."""
    enabled: bool = True
    """False leaves the suite out; the record then says "disabled"."""


@dataclass(config=MODEL_CONFIG, frozen=True)
class SchemaField:
    """What one field of a row must look like."""

    name: str
    """Field name; dots lead into objects (`metadata.claim_id`)."""
    type: FieldType | tuple[FieldType, ...] = "any"
    """JSON type, or a list of the types allowed. `1.0` counts as an integer; a boolean never counts as a number."""
    required: bool = True
    """Whether the field must be there. Null counts as absent unless `type` allows null."""
    allow_empty: bool = False
    """Whether `""`, whitespace alone, `[]` and `{}` pass."""
    pattern: str | None = None
    """Regular expression that must match somewhere in a string (anchor it with ^ and $ to match the whole)."""
    min: float | None = None
    """Least value of a number."""
    max: float | None = None
    """Greatest value of a number."""
    min_length: NonNegativeInt | None = None
    """Least length of a string (characters), array (items) or object (keys)."""
    max_length: NonNegativeInt | None = None
    """Greatest length of a string (characters), array (items) or object (keys)."""
    enum: tuple[Scalar, ...] | None = None
    """The values allowed."""
    items: SchemaField | None = None
    """What each item of an array must look like; its `name` may be `item`."""
    fields: tuple[SchemaField, ...] | None = None
    """What the fields of an object must look like."""
    unique: bool = False
    """Whether no two rows may share this value. Keeps about 160 bytes a value in memory."""
    validator: str | None = None
    """What else must hold: `clean_text`, `iso_date`, `json_text`, `language_tag`, `url`, or a plugin: the name of an
    entry point, or `module:function`. Called with the value; returns None if it is fine, else what is wrong."""


# The fields of a row, or the file of a JSON Schema.
RowSchema = tuple[SchemaField, ...] | Path


@dataclass(config=MODEL_CONFIG, frozen=True)
class DataValidationConfig:
    """The dataset and what its rows must look like."""

    path: DatasetPaths | None = None
    """JSONL dataset, plain, `.gz` or `.zst`: a file, a pattern (`data/**/*.jsonl.gz`), or a list of both. Absent:
    `data.train_file` of the LoRA file."""
    schema: RowSchema | None = None
    """The fields of a row, or the path of a JSON Schema (`.json`). Absent: the task's own schema."""
    max_examples: PositiveInt | None = None
    """Reads no more rows than this. The gate then covers, and training reads, only those."""
    checks: dict[str, CheckLevel] = Field(default_factory=dict)
    """Level of a check, by code: `error`, `warn` or `off`. Absent: the check's own default."""
    custom_checks: tuple[str, ...] = ()
    """Checks of your own, of a row or of all rows: names of entry points, or `module:attribute`."""


@dataclass(config=MODEL_CONFIG, frozen=True)
class TrainingConfig:
    """Which backend trains, and the recipe it follows."""

    config_path: Path
    """The LoRA file."""
    backend: str = "hf_peft"
    """`hf_peft`, or a plugin: the name of an entry point, or `module:function`."""


@dataclass(config=MODEL_CONFIG, frozen=True)
class EvaluationConfig:
    """What is evaluated, on which records, and how completions are sampled."""

    base_model: str | None = None
    """Hub id, folder or `.gguf` file. Absent: `model.name` of the LoRA file."""
    checkpoint_dir: Path | None = None
    """Folder of the adapter. Absent: `output.checkpoint_dir` of the LoRA file. Null: the base model alone."""
    claims_file: Path | None = None
    """SciFact claims (JSONL). Task `scifact_claims`."""
    corpus_file: Path | None = None
    """SciFact corpus (JSONL). Task `scifact_claims`."""
    data_file: Path | None = None
    """Rows to evaluate (JSONL). Task `prompt_completion`. Absent: the rows that `data.validation_split` held out."""
    max_samples: PositiveInt | None = None
    """Evaluates the first so many records."""
    output_path: Path | None = None
    """Where the predictions (JSONL) go, beside the copy in the run folder."""
    backend: str | None = None
    """What generates. Absent: the backend that trains."""
    batch_size: PositiveInt | None = None
    """Records generated at a time. Absent: chosen by memory, and recorded."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the base model. `auto`: as in training."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """With the record's id, seeds each record's own generator."""
    temperature: Annotated[float, Field(ge=0)] = 0.7
    """Sampling temperature; 0 is greedy."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Nucleus sampling: the smallest set of tokens with at least this probability."""
    max_new_tokens: PositiveInt = 512
    """Longest completion, in tokens."""
    constrain: Literal["none"] = "none"
    """Constrained decoding; none yet."""
    compare_base: bool = False
    """Evaluates the base model on the same records too, and shows both."""


@dataclass(config=MODEL_CONFIG, frozen=True)
class PipelineConfig:
    """One experiment: the pipeline file, with every path absolute."""

    tests: TestSuiteConfig
    """The pytest suite."""
    data_validation: DataValidationConfig
    """The dataset and its schema."""
    training: TrainingConfig | None = None
    """Backend and recipe. Needed by `train` and `run`."""
    evaluation: EvaluationConfig | None = None
    """Needed by `eval` and `run`."""
    task: str = "scifact_claims"
    """`scifact_claims`, `prompt_completion`, or a plugin."""
    runs_dir: Path = Path("runs/thinker")
    """Where run records go. Absent: `runs/thinker` under the current folder, not beside this file."""
