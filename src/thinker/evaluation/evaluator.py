"""Evaluate: records → prompts → completions → metrics and predictions."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from thinker import plugins
from thinker.config.experiment import Experiment
from thinker.data.encode import Encoder
from thinker.errors import ConfigError, DataError, EvaluationError, ThinkerError
from thinker.evaluation.base import Generation, GenerationRequest, GeneratorContext, Sampling, create_generator
from thinker.files import write_atomically
from thinker.tasks.base import EvalRecord, Prediction, Prompt, Scores, Task
from thinker.training.hf_peft.artifacts import read_manifest

log = logging.getLogger("thinker")

# Beside the predictions in the run folder, where the base model was evaluated too.
BASE_PREDICTIONS = "predictions.base.jsonl"


@dataclass(frozen=True)
class EvaluationContext:
    """Everything an evaluation needs.

    Attributes:
        task: prompts, gold and metrics.
        generator: what generates, from which adapter, and how.
        held_out: rows that `validation_split` kept from training, for tasks that can evaluate on those.
        predictions_path: where the predictions go in the run folder.
        require_same_records: called when the records have been read; raises if they are not those that the gate saw.
    """

    task: Task
    generator: GeneratorContext
    held_out: Sequence[Mapping[str, Any]]
    predictions_path: Path
    require_same_records: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class EvaluationReport:
    """What an evaluation found.

    Attributes:
        metrics: of the adapter, or of the base model where there is no adapter.
        base_metrics: of the base model on the same records, where that was asked for.
        records: number evaluated.
        confusion: gold → predicted → count, or None.
        predictions: the JSONL file in the run folder.
        output: the copy at `evaluation.output_path`, or None.
        settings: batch size, device, precision, sampling.
    """

    metrics: dict[str, Any]
    base_metrics: dict[str, Any] | None
    records: int
    confusion: dict[str, dict[str, int]] | None
    predictions: Path
    output: Path | None
    settings: dict[str, Any] = field(default_factory=dict)


class Evaluator:
    """Runs one evaluation."""

    def __init__(self, context: EvaluationContext) -> None:
        evaluation = context.generator.experiment.pipeline.evaluation
        if evaluation is None:
            raise ConfigError("there is no `evaluation` section")
        self._context, self._evaluation = context, evaluation

    def evaluate(self) -> EvaluationReport:
        """Generate, score, write.

        Raises:
            EvaluationError: whatever stops an evaluation that has no clearer error of its own.
        """
        try:
            return self._evaluate()
        except ThinkerError:
            raise
        except Exception as error:
            raise EvaluationError(f"{type(error).__name__}: {error}") from error

    def _evaluate(self) -> EvaluationReport:
        context, evaluation = self._context, self._evaluation
        records = context.task.records(evaluation, context.held_out)[: evaluation.max_samples]
        context.require_same_records()
        if not records:
            raise DataError("there is no record to evaluate")
        requests = self._requests(records)
        backend = generator_name(context.generator.experiment)
        generator = create_generator(backend, context.generator)
        generations = generator.generate(requests)
        scores = self._score(records, generations)
        base_metrics = None
        if evaluation.compare_base and context.generator.adapter is not None:
            base_generations = generator.generate(requests, use_adapter=False)
            base_scores = self._score(records, base_generations)
            base_metrics = base_scores.metrics
            base_path = context.predictions_path.with_name(BASE_PREDICTIONS)
            _write_predictions(base_path, _prediction_lines(records, base_generations, base_scores))
        lines = _prediction_lines(records, generations, scores)
        for path in filter(None, (context.predictions_path, evaluation.output_path)):
            _write_predictions(path, lines)
        unfinished = sum(not generation.finished for generation in generations)
        if unfinished:
            log.warning("%d of %d completions were cut off at evaluation.max_new_tokens %d", unfinished, len(records),
                        evaluation.max_new_tokens)  # fmt: skip
        return EvaluationReport(
            metrics=scores.metrics,
            base_metrics=base_metrics,
            records=len(records),
            confusion=scores.confusion,
            predictions=context.predictions_path,
            output=evaluation.output_path,
            settings={**generator.settings, "backend": backend, **asdict(context.generator.sampling)},
        )

    def _requests(self, records: Sequence[EvalRecord]) -> list[GenerationRequest]:
        encoder = Encoder(self._context.generator.tokenizer, self._prompt_format())
        requests = []
        for record in records:
            try:
                prompt_ids = encoder.prompt_ids(record.prompt)
            except ValueError as error:
                raise DataError(f"record {record.record_id}: {error}") from error
            requests.append(GenerationRequest(record.record_id, tuple(prompt_ids)))
        recipe = self._context.generator.experiment.recipe
        if recipe and recipe.training.on_overlong == "truncate_prompt":
            limit = recipe.training.max_seq_length
            if whole := sum(len(request.prompt_ids) > limit for request in requests):
                log.warning("%d prompts are longer than training.max_seq_length %d: training cuts them, evaluation "
                            "sends them whole", whole, limit)  # fmt: skip
        return requests

    def _prompt_format(self) -> str:
        """The format that the adapter was trained with; the recipe's, where the adapter says nothing of it."""
        recipe, adapter = self._context.generator.experiment.recipe, self._context.generator.adapter
        manifest = read_manifest(adapter) if adapter is not None else None
        trained = manifest.get("prompt_format") if manifest else None
        if recipe is None:
            return trained or "raw"
        if trained not in (None, recipe.model.prompt_format):
            raise EvaluationError(
                f"the adapter in {adapter} was trained with model.prompt_format '{trained}', and the recipe says "
                f"'{recipe.model.prompt_format}': it would be asked in a form that it never saw; train again"
            )
        return recipe.model.prompt_format

    def _score(self, records: Sequence[EvalRecord], generations: Sequence[Generation]) -> Scores:
        return self._context.task.score(
            [Prediction(record, generation.text) for record, generation in zip(records, generations, strict=True)]
        )


def generator_name(experiment: Experiment) -> str:
    """What generates: `evaluation.backend`, else the generator of the name of the backend that trains.

    Raises:
        ConfigError: no generator has that backend's name.
    """
    evaluation, training = experiment.pipeline.evaluation, experiment.pipeline.training
    if evaluation is not None and evaluation.backend is not None:
        return evaluation.backend
    name = training.backend if training else "hf_peft"
    if name not in plugins.names("generators"):
        raise ConfigError(
            f"evaluation.backend: the backend '{name}' trains but does not generate; name one that does "
            f"({', '.join(plugins.names('generators'))})"
        )
    return name


def sampling_of(experiment: Experiment) -> Sampling:
    """The sampling settings of an experiment's `evaluation` section."""
    evaluation = experiment.pipeline.evaluation
    if evaluation is None:
        raise ConfigError("there is no `evaluation` section")
    return Sampling(evaluation.temperature, evaluation.top_p, evaluation.max_new_tokens, evaluation.seed)


def _prediction_lines(
    records: Sequence[EvalRecord], generations: Sequence[Generation], scores: Scores
) -> list[dict[str, Any]]:
    return [
        {
            "record_id": record.record_id,
            **row,
            "prompt": _plain(record.prompt),
            "completion": generation.text,
            "tokens": generation.token_count,
            "finished": generation.finished,
        }
        for record, generation, row in zip(records, generations, scores.per_record, strict=True)
    ]


def _write_predictions(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    except OSError as error:
        raise EvaluationError(f"cannot write the predictions to {path}: {error.strerror or error}") from error


def _plain(prompt: Prompt) -> str | list[dict[str, str]]:
    return prompt if isinstance(prompt, str) else [asdict(turn) for turn in prompt]
