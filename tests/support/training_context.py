"""A training context without files: rows given as token ids, and the recipe's own plan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from thinker.config import load_experiment
from thinker.data.encode import EncodedExample
from thinker.data.encoded_rows import EncodedRows
from thinker.data.prepare import plan_of
from thinker.tasks.prompt_completion import PromptCompletion
from thinker.training.base import TrainingContext

from .project import Project


def row(length: int, *, trained: int = 4) -> EncodedExample:
    """A row of `length` ids, the last `trained` of which carry loss."""
    return EncodedExample([5 + place % 100 for place in range(length)], [1.0] * trained)


def training_context(
    project: Project, rows: Sequence[EncodedExample], *overrides: str, held_out: int = 0
) -> TrainingContext:
    """What a backend would be given for `rows`, the last `held_out` of which are not trained on."""
    experiment = load_experiment(project.root / "pipeline.yaml", command="train", overrides=overrides)
    assert experiment.recipe is not None
    train = range(len(rows) - held_out)
    return TrainingContext(
        experiment=experiment,
        task=PromptCompletion(),
        rows=EncodedRows.of(rows),
        train_rows=train,
        held_out_rows=range(len(train), len(rows)),
        plan=plan_of(experiment.recipe, len(train)),
        run_dir=project.root / "run",
        cache_dir=Path(project.root, ".thinker", "cache"),
        training_fingerprint="f" * 64,
        provenance={},
        tokenizer=None,
    )
