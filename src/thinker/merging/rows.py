"""The rows on which a merged model is held against base model and adapter."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from thinker import plugins
from thinker.config.experiment import Experiment
from thinker.config.source import shown_path
from thinker.data.encode import Encoder
from thinker.errors import DataError
from thinker.tasks.base import Example, Task
from thinker.training.hf_peft.artifacts import read_manifest

log = logging.getLogger("thinker")

# For where the dataset is gone.
_TEXTS: Final = (
    ("The capital of France is", " Paris, which lies on the river Seine."),
    ("Question: why is the sky blue?\nAnswer:", " because air scatters short waves of light more than long ones."),
    ("def add(a, b):\n", '    """The sum of a and b."""\n    return a + b\n'),
    ("1, 1, 2, 3, 5, 8,", " 13, 21, 34, 55, 89, 144"),
    ("Water boils at", " 100 degrees Celsius at sea level, and at less on a mountain."),
    ("Once upon a time there was", " a girl who lived with her mother at the edge of a dark wood."),
    ("Sehr geehrte Damen und Herren,\n", "hiermit bestätige ich den Eingang Ihres Schreibens vom 3. Mai."),
    ("SELECT name, age FROM people", " WHERE age > 40 ORDER BY name;"),
)


@dataclass(frozen=True)
class ParityRow:
    """A row as token ids.

    Attributes:
        name: for people: the file and line that it is from.
        ids: prompt, completion and end-of-sequence.
        prompt_length: ids of the prompt.
    """

    name: str
    ids: tuple[int, ...]
    prompt_length: int


def parity_rows(experiment: Experiment, tokenizer: Any, adapter: Path, count: int) -> list[ParityRow]:
    """The first `count` rows of the dataset that training could use; fixed texts where it cannot be read.

    Args:
        experiment: names dataset and task.
        tokenizer: of the base model, or of the merged one.
        adapter: whose manifest knows the prompt format; the recipe's, else `raw`, where it does not.
        count: how many.
    """
    recipe = experiment.recipe
    known = (read_manifest(adapter) or {}).get("prompt_format")
    prompt_format = known or (recipe.model.prompt_format if recipe else "raw")
    longest = recipe.training.max_seq_length if recipe else None
    try:
        found = list(islice(_rows(experiment, Encoder(tokenizer, prompt_format), longest), count))
        what = "none of its rows fits training.max_seq_length"
    except (DataError, OSError) as error:
        found, what = [], str(error)
    if not found:
        log.warning("parity is measured on fixed texts, not on the dataset's rows: %s", what)
        found = list(islice(_texts(Encoder(tokenizer, "raw")), count))
    return found


def _rows(experiment: Experiment, encoder: Encoder, longest: int | None) -> Iterator[ParityRow]:
    task: Task = plugins.resolve("tasks", experiment.pipeline.task)()
    for row in experiment.dataset.rows():
        name = f"{shown_path(row.file)}:{row.line}"
        try:
            found = _row(name, task.example(row.value), encoder)
        except (ValueError, LookupError, TypeError, AttributeError) as error:  # the row was held against no schema
            raise DataError(f"{name}: cannot be read as an example: {error}") from error
        if longest is None or len(found.ids) <= longest:
            yield found


def _texts(encoder: Encoder) -> Iterator[ParityRow]:
    for number, (prompt, completion) in enumerate(_TEXTS, start=1):
        yield _row(f"text {number}", Example(prompt, completion), encoder)


def _row(name: str, example: Example, encoder: Encoder) -> ParityRow:
    encoded = encoder.encode(example)
    return ParityRow(name, tuple(encoded.ids), encoded.prompt_length)
