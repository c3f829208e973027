"""The interface behind which tasks differ: rows, prompts, loss weights, gold and metrics.

Everything downstream (encoding, plan, backends, evaluation) knows tasks only through this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from thinker.config.pipeline_models import EvaluationConfig, SchemaField

if TYPE_CHECKING:
    from thinker.validation.preflight import Check

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


Prompt = str | tuple[Message, ...]


@dataclass(frozen=True)
class Example:
    """One row as the model is to learn it: `completion` follows `prompt`."""

    prompt: Prompt
    completion: str


@dataclass(frozen=True)
class LossWeights:
    """The recipe's weights for parts of a completion."""

    claim_c1: float = 1.0
    evidence: float = 1.0


@dataclass(frozen=True)
class WeightSpan:
    """Characters `[start, end)` of a completion and the loss weight of the tokens that touch them."""

    start: int
    end: int
    weight: float


@dataclass(frozen=True)
class EvalRecord:
    """One record to evaluate. `gold` is the task's own and goes nowhere but back to its `score`."""

    record_id: str
    prompt: Prompt
    gold: Any


@dataclass(frozen=True)
class Prediction:
    """What a model answered to a record."""

    record: EvalRecord
    completion: str


Metric = float | int | None | list[float]


@dataclass(frozen=True)
class Scores:
    """What a task makes of predictions.

    Attributes:
        metrics: name -> figure, or a list with a figure for each record; None where undefined (a rate over nothing).
        per_record: for each prediction, in order, what the predictions file shows beside prompt and completion.
        confusion: gold label -> predicted label -> count, or None where the task has none.
    """

    metrics: dict[str, Metric]
    per_record: tuple[dict[str, Any], ...]
    confusion: dict[str, dict[str, int]] | None = None


class Task(Protocol):
    """What is learned and how it is judged. A plugin is a class without constructor arguments that has these.

    It may also be one of `ChecksRows`, `LabelsExamples` and `ComparesPrompts`, below.

    Attributes:
        name: as the configuration writes it.
        default_schema: the fields of a row, used where `data_validation.schema` is absent.
        required_inputs: keys of `evaluation` that this task cannot do without.
    """

    name: str
    default_schema: tuple[SchemaField, ...]
    required_inputs: tuple[str, ...]

    def example(self, row: Mapping[str, Any]) -> Example:
        """The example that `row` (already checked against the schema) stands for.

        Raises:
            ValueError: the row cannot be read as an example; the message says why, without its place.
        """
        ...

    def weight_spans(self, completion: str, weights: LossWeights) -> tuple[WeightSpan, ...]:
        """The parts of `completion` whose weight is not 1, in order, not overlapping."""
        ...

    def records(self, evaluation: EvaluationConfig, held_out: Sequence[Mapping[str, Any]]) -> list[EvalRecord]:
        """The records to evaluate, in file order, before `max_samples`.

        Args:
            evaluation: names the input files.
            held_out: rows that `validation_split` kept from training, for tasks that can evaluate on those.

        Raises:
            DataError: an input file is malformed; names file and line.
        """
        ...

    def score(self, predictions: Sequence[Prediction]) -> Scores:
        """Metrics over `predictions`."""
        ...


@runtime_checkable
class ChecksRows(Protocol):
    """A task that brings checks of its own to the gate. A task need not."""

    def checks(self, evaluation: EvaluationConfig | None) -> Sequence[Check]:
        """The checks of rows, made for one dataset.

        Args:
            evaluation: names the input files from which prompts will be built; None where nothing is evaluated.
        """
        ...


@runtime_checkable
class LabelsExamples(Protocol):
    """A task whose examples fall into classes, of which none should make up almost all. A task need not be one."""

    def label(self, example: Example) -> str:
        """The class of `example`."""
        ...


@dataclass(frozen=True)
class ComparedPrompt:
    """What tells whether two prompts ask the same.

    Attributes:
        text: what is asked, without what all prompts have in common.
        documents: ids of the documents that the prompt holds.
    """

    text: str
    documents: tuple[str, ...] = ()


@runtime_checkable
class ComparesPrompts(Protocol):
    """A task whose prompts hold more than what is asked. A task need not be one: whole prompts are compared then."""

    def compared(self, prompt: Prompt) -> ComparedPrompt:
        """What of `prompt`, of a row or of a record, is compared."""
        ...


def prompt_text(prompt: Prompt) -> str:
    """All that `prompt` says."""
    return prompt if isinstance(prompt, str) else "\n".join(turn.content for turn in prompt)


def evaluation_inputs(evaluation: EvaluationConfig) -> dict[str, Path]:
    """The evaluation's input files by configuration key, as far as they are given."""
    keys = ("claims_file", "corpus_file", "data_file")
    return {key: path for key in keys if (path := getattr(evaluation, key)) is not None}
