"""`thinker inspect`: one row of the dataset as the model will see it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from thinker.cli.options import CommonOptions
from thinker.config.experiment import Experiment
from thinker.config.recipe_models import Recipe
from thinker.data.dataset_files import DatasetFiles, PlacedRow
from thinker.data.token_view import ShownToken, TokenView
from thinker.errors import EXIT_OK, ConfigError, DataError, PreconditionError

_PLACE: Final = re.compile(r"(?:(?P<file>.+):)?(?P<line>[1-9][0-9]*)")
_LEGEND: Final = (
    ("dim", "given"),
    ("red", "weight 0"),
    ("cyan", "below 1"),
    ("green", "1"),
    ("bold yellow", "above 1"),
)


def inspect_row(common: CommonOptions, row: int | None, line: str | None) -> int:
    """`thinker inspect [--row K | --line [FILE:]N]`."""
    from thinker.cli.session import configure_output
    from thinker.config import load_experiment

    configure_output(common)
    if row is not None and line is not None:
        raise ConfigError("--row and --line name a row each; give one of them")
    experiment = load_experiment(common.config, command="validate", overrides=common.overrides)
    if experiment.recipe is None:
        raise ConfigError("nothing says how rows are encoded: the pipeline file has no section `training`")
    files = experiment.dataset
    limit = experiment.pipeline.data_validation.max_examples
    placed = _at_line(files, line, limit) if line else _at_row(files, row or 1, limit)
    view = _view(experiment, experiment.recipe, placed)
    if common.as_json:
        sys.stdout.write(json.dumps(_as_json(experiment, experiment.recipe, placed, view), ensure_ascii=False) + "\n")
    else:
        _show(experiment.recipe, placed, view)
    return EXIT_OK


def _at_row(files: DatasetFiles, wanted: int, limit: int | None) -> PlacedRow:
    count = 0
    for placed in files.parsed(max_examples=limit):
        count = placed.number + 1
        if count == wanted:
            return placed
    raise PreconditionError(f"there is no row {wanted}: {files} has {count}{_as_capped(count, limit)}, counted from 1")


def _at_line(files: DatasetFiles, place: str, limit: int | None) -> PlacedRow:
    found = _PLACE.fullmatch(place)
    if not found:
        raise ConfigError(f"--line takes a line number, or FILE:LINE, not '{place}'")
    name, number = found["file"], int(found["line"])
    paths = [path for path in files.paths if not name or path.name == Path(name).name]
    if name and not paths:
        raise PreconditionError(f"the dataset {files} has no file {name}")
    if len(paths) > 1:
        raise ConfigError(f"the dataset has {len(files.paths)} files; say --line FILE:{number}, or --row")
    count = 0
    for placed in files.parsed(max_examples=limit):
        count = placed.number + 1
        if placed.file == paths[0] and placed.raw.number == number:
            return placed
    raise PreconditionError(f"{paths[0]}:{number}: there is no row at this line{_as_capped(count, limit)}")


def _as_capped(count: int, limit: int | None) -> str:
    return " (data_validation.max_examples ends the reading there)" if count == limit else ""


def _view(experiment: Experiment, recipe: Recipe, placed: PlacedRow) -> TokenView:
    from thinker import plugins
    from thinker.data.encode import Encoder
    from thinker.data.jsonl import first_error
    from thinker.data.prepare import loss_weights
    from thinker.data.token_view import view_tokens
    from thinker.data.tokenizer_files import load_tokenizer_files, model_files
    from thinker.files import cache_dir

    value = placed.parsed.value
    if value is None:
        raise DataError(first_error(placed.file, placed.raw.number, placed.parsed))
    task = plugins.resolve("tasks", experiment.pipeline.task)()
    folder = model_files(recipe.model.name, recipe.model.revision, cache_dir(experiment.config_path))
    tokenizer = load_tokenizer_files(folder, chat=recipe.model.prompt_format == "chat")
    encoder = Encoder(tokenizer, recipe.model.prompt_format)
    try:
        example = task.example(value)
        spans = task.weight_spans(example.completion, loss_weights(recipe))
        limits = recipe.training
        return view_tokens(example, spans, encoder, tokenizer, limits.max_seq_length, limits.on_overlong)
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # the row was held against no schema
        what = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise DataError(f"{placed.file}:{placed.raw.number}: cannot be read as an example: {what}") from error


def _as_json(experiment: Experiment, recipe: Recipe, placed: PlacedRow, view: TokenView) -> dict[str, Any]:
    tokens, fitted = view.tokens, view.fitted
    return {
        "file": placed.file.as_posix(),
        "line": placed.raw.number,
        "row": placed.number + 1,
        "task": experiment.pipeline.task,
        "prompt_format": recipe.model.prompt_format,
        "prompt": view.prompt_text,
        "completion": view.completion,
        "ids": [token.token_id for token in tokens],
        "tokens": [token.token for token in tokens],
        "parts": [token.part for token in tokens],
        "offsets": [None if token.span is None else list(token.span) for token in tokens],
        "mask": [token.mask for token in tokens],
        "weights": [token.weight for token in tokens],
        "length": len(tokens),
        "prompt_length": view.count("prompt"),
        "trained_tokens": sum(token.weight > 0 for token in tokens),
        "weight_sum": sum(token.weight for token in tokens),
        "max_seq_length": recipe.training.max_seq_length,
        "on_overlong": recipe.training.on_overlong,
        "whole_length": fitted.whole_length,
        "outcome": fitted.outcome,
    }


def _show(recipe: Recipe, placed: PlacedRow, view: TokenView) -> None:
    """A line for each token; colours stand for weights, on a terminal alone."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    console.print(Text("\n".join(_totals(recipe, placed, view))))
    if console.is_terminal:
        console.print(Text.assemble(*((f"{meaning}  ", style) for style, meaning in _LEGEND)))
    console.print(Text(f"\n{'place':>6} {'id':>7} {'mask':>5} {'weight':>7}  text"))
    for line, style in _lines(view.tokens):
        console.print(Text(line, style))


def _totals(recipe: Recipe, placed: PlacedRow, view: TokenView) -> Iterator[str]:
    tokens, fitted, limits = view.tokens, view.fitted, recipe.training
    trained, weight = sum(token.weight > 0 for token in tokens), sum(token.weight for token in tokens)
    yield f"{placed.file}:{placed.raw.number} (row {placed.number + 1}), prompt format {recipe.model.prompt_format}"
    yield (
        f"{len(tokens)} tokens: {view.count('prompt')} prompt, {view.count('completion')} completion, 1 end; "
        f"{trained} carry loss, with weights that sum to {weight:g}"
    )
    excess = fitted.whole_length - limits.max_seq_length
    over = f"{excess} more than training.max_seq_length ({limits.max_seq_length})"
    yield {
        "kept": f"fits: training.max_seq_length is {limits.max_seq_length}",
        "dropped": f"{over}: training leaves the row out (training.on_overlong: drop)",
        "truncated": f"{fitted.whole_length} tokens, {over}: those are cut from the prompt's left, as shown here "
        "(training.on_overlong: truncate_prompt)",
        "overlong": f"{over}: an error (training.on_overlong: {limits.on_overlong}; a completion is never cut)",
    }[fitted.outcome]


def _lines(tokens: tuple[ShownToken, ...]) -> Iterator[tuple[str, str]]:
    before: ShownToken | None = None
    for place, token in enumerate(tokens):
        if before is None or token.part != before.part:
            yield f"-- {token.part}", "bold"
        line = f"{place:>6} {token.token_id:>7} {token.mask:>5} {token.weight:>7g}  {_shown(token, before)}"
        yield line, _style(token)
        before = token


def _shown(token: ShownToken, before: ShownToken | None) -> str:
    """A token's text with everything invisible spelled out; a control token as it is named."""
    if token.special:
        return f"{token.token}  (special)"
    if token.span is None:
        return f"{token.token}  (added)"
    if before is not None and before.part == token.part and before.span == token.span:
        return f"… {token.token}  (of the same character)"
    return repr(token.text)


def _style(token: ShownToken) -> str:
    if not token.mask:
        return "dim"
    if token.weight == 0:
        return "red"
    return "green" if token.weight == 1 else "cyan" if token.weight < 1 else "bold yellow"
