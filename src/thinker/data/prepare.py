"""From a checked dataset to what a backend trains on: encoded rows, the split, the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from thinker.config.experiment import Experiment
from thinker.config.recipe_models import Recipe
from thinker.data.encode import Encoder
from thinker.data.encoded_rows import EncodedRows, EncodingSettings, encode_dataset
from thinker.data.plan import Plan, split_rows
from thinker.errors import DataError
from thinker.tasks.base import LossWeights, Task


@dataclass(frozen=True)
class PreparedData:
    """What a backend trains on.

    Attributes:
        rows: the encoded rows.
        train_rows: for each row of the plan, its index in `rows`.
        held_out_rows: indices in `rows` for the evaluation loss.
        plan: the optimizer steps.
    """

    rows: EncodedRows
    train_rows: Sequence[int]
    held_out_rows: Sequence[int]
    plan: Plan

    @property
    def planned_tokens(self) -> tuple[int, int]:
        """Tokens that all steps send through the model, and those among them that carry loss."""
        return self.tokens_of(len(self.plan))

    def tokens_of(self, steps: int) -> tuple[int, int]:
        """As `planned_tokens`, of the first `steps` steps."""
        rows = [self.train_rows[row] for step in islice(self.plan, steps) for row in step.rows]
        return sum(self.rows.lengths[row] for row in rows), sum(self.rows.trained_tokens[row] for row in rows)

    def row_numbers(self, indices: Sequence[int]) -> list[int]:
        """Places in the dataset of rows given by their index in `rows`."""
        return [self.rows.row_numbers[index] for index in indices]


def prepare_data(
    experiment: Experiment,
    recipe: Recipe,
    task: Task,
    tokenizer: Any,
    *,
    tokenizer_identity: str,
    dataset_sha256: str,
    cache_dir: Path,
    world_size: int = 1,
) -> PreparedData:
    """Encode the dataset, split it, and plan the steps.

    Raises:
        DataError: the dataset is not the one of `dataset_sha256`, or its rows do not fit.
    """
    settings = EncodingSettings(
        tokenizer_identity=tokenizer_identity,
        prompt_format=recipe.model.prompt_format,
        max_seq_length=recipe.training.max_seq_length,
        on_overlong=recipe.training.on_overlong,
        weights=loss_weights(recipe),
        max_examples=experiment.pipeline.data_validation.max_examples,
    )
    rows = encode_dataset(
        experiment.dataset,
        task,
        Encoder(tokenizer, recipe.model.prompt_format),
        settings,
        expected_sha256=dataset_sha256,
        cache_dir=cache_dir,
    )
    try:
        train, kept_out = split_kept(recipe, rows.row_numbers, rows.total)
    except ValueError as error:
        raise DataError(f"{experiment.dataset}: {error}") from error
    return PreparedData(rows, train, kept_out, plan_of(recipe, len(train), world_size))


def loss_weights(recipe: Recipe) -> LossWeights:
    """The recipe's weights for parts of a completion."""
    return LossWeights(recipe.training.claim_c1_weight, recipe.training.evidence_weight)


def split_kept(recipe: Recipe, kept: Sequence[int], total: int) -> tuple[list[int], list[int]]:
    """Which of the rows that fit are trained on, and which held out: indices in `kept`, ascending.

    Args:
        recipe: says how many are held out.
        kept: row numbers.
        total: rows of the dataset, those left out included: which rows are held out does not depend on lengths.

    Raises:
        ValueError: no row is left to train on, or there are too few to hold some out.
    """
    held_out = frozenset(_held_out(recipe, total))
    train = [index for index, number in enumerate(kept) if number not in held_out]
    if not train:
        raise ValueError("no row is left to train on")
    return train, [index for index, number in enumerate(kept) if number in held_out]


def plan_of(recipe: Recipe, row_count: int, world_size: int = 1) -> Plan:
    """The optimizer steps over `row_count` rows, dealt to `world_size` processes."""
    training = recipe.training
    return Plan(
        row_count=row_count,
        shuffle=recipe.data.shuffle,
        seed=recipe.data.seed,
        epochs=training.num_epochs,
        micro_batch_size=training.per_device_batch_size,
        accumulation=training.gradient_accumulation_steps,
        world_size=world_size,
        max_steps=training.max_steps,
    )


def held_out_values(experiment: Experiment, recipe: Recipe | None, expected_sha256: str | None) -> list[dict[str, Any]]:
    """The dataset's rows that `validation_split` keeps from training, as they stand in the file.

    Raises:
        DataError: the dataset is not the one of `expected_sha256`.
    """
    if recipe is None or recipe.data.validation_split == 0:
        return []
    limit = experiment.pipeline.data_validation.max_examples
    rows = experiment.dataset.rows(max_examples=limit, expected_sha256=expected_sha256)
    values = [row.value for row in rows]
    try:
        return [values[number] for number in _held_out(recipe, len(values))]
    except ValueError as error:
        raise DataError(f"{experiment.dataset}: {error}") from error


def _held_out(recipe: Recipe, total: int) -> tuple[int, ...]:
    try:
        return split_rows(total, recipe.data.validation_split, recipe.data.seed)[1]
    except ValueError as error:
        raise ValueError(f"data.validation_split: {error}") from error
