"""The dataset as encoded rows: a memory-mapped Arrow file, kept under a content hash, read while being hashed."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinker.data.dataset_files import DatasetFiles
from thinker.data.encode import EncodedExample, Encoder
from thinker.data.jsonl import DataRow
from thinker.errors import DataError
from thinker.files import folder_in_one_step
from thinker.hashing import digest, sha256_file
from thinker.plugins import source_sha256
from thinker.progress import track
from thinker.runs.provenance import library_versions
from thinker.tasks.base import LossWeights, Task

if TYPE_CHECKING:
    import datasets

log = logging.getLogger("thinker")
_FORMAT = 2
_LISTED = 10


@dataclass(frozen=True)
class EncodingSettings:
    """What decides the encoded rows, besides the dataset's bytes. All of it goes into the cache's key.

    Attributes:
        tokenizer_identity: hash of the files the tokenizer was made from.
        prompt_format: `raw` or `chat`.
        max_seq_length: longest row, in tokens.
        on_overlong: `error`, `drop` or `truncate_prompt`.
        weights: loss weights of the recipe.
        max_examples: reads no more rows than this; None reads all.
    """

    tokenizer_identity: str
    prompt_format: str
    max_seq_length: int
    on_overlong: str
    weights: LossWeights
    max_examples: int | None


class EncodedRows:
    """The rows that fit, in file order; `rows[i]` is an `EncodedExample`.

    Attributes:
        row_numbers: for each, its place among the dataset's rows, from 0.
        lengths: for each, its number of ids.
        weight_sums: for each, the sum of its loss weights.
        dropped: row numbers left out as too long.
        truncated: row numbers whose prompt was cut.
        total: rows read, dropped ones included.
    """

    def __init__(self, table: datasets.Dataset, dropped: tuple[int, ...], truncated: tuple[int, ...]) -> None:
        self._table = table
        self.row_numbers: list[int] = list(table["row"])
        self.lengths: list[int] = list(table["length"])
        self.weight_sums: list[float] = list(table["weight_sum"])
        self.trained_tokens: list[int] = list(table["trained"])
        self.dropped = dropped
        self.truncated = truncated

    @property
    def total(self) -> int:
        return len(self.row_numbers) + len(self.dropped)

    def __len__(self) -> int:
        return len(self.row_numbers)

    def __getitem__(self, index: int) -> EncodedExample:
        row: dict[str, Any] = self._table[index]
        return EncodedExample(list(row["ids"]), list(row["weights"]))


def encode_dataset(
    files: DatasetFiles,
    task: Task,
    encoder: Encoder,
    settings: EncodingSettings,
    *,
    expected_sha256: str,
    cache_dir: Path,
) -> EncodedRows:
    """Encode the rows of `files`, or find them encoded under `cache_dir`; either way all of its bytes are hashed now.

    Raises:
        DataError: the bytes are not those of `expected_sha256`; a row cannot be read as an example; rows are too long
            and `on_overlong` is `error`; no row is left.
    """
    key = digest(
        {
            "format": _FORMAT,
            "dataset": expected_sha256,
            "task": [task.name, source_sha256(task)],
            "settings": asdict(settings),
            "versions": library_versions(("thinker", "tokenizers", "transformers", "jinja2")),
            "day": date.today().isoformat() if encoder.is_dated else None,
        }
    )
    folder = cache_dir / "encoded" / key[:32]
    if folder.is_dir():
        files.require_unchanged(files.sha256(), expected_sha256)
        try:
            found = _open(folder, files)
        except (OSError, ValueError, LookupError) as error:
            log.warning("the cached rows in %s are damaged (%s); encoding them again", folder, error)
            shutil.rmtree(folder)
        else:
            log.info("encoded rows: found in the cache (%s)", folder.name)
            return found
    rows = files.rows(max_examples=settings.max_examples, expected_sha256=expected_sha256)
    _write(folder, files, _encode(rows, task, encoder, settings))
    return _open(folder, files)


@dataclass(frozen=True)
class _Encoded:
    row: int
    line: int
    example: EncodedExample
    whole_length: int
    outcome: str


def _encode(rows: Iterator[DataRow], task: Task, encoder: Encoder, settings: EncodingSettings) -> Iterator[_Encoded]:
    for number, row in enumerate(rows):
        try:
            example = task.example(row.value)
            encoded = encoder.encode(example, task.weight_spans(example.completion, settings.weights))
        except ValueError as error:
            raise DataError(f"{row.file}:{row.line}: {error}") from error
        length = len(encoded.ids)
        if length <= settings.max_seq_length:
            yield _Encoded(number, row.line, encoded, length, "kept")
        elif settings.on_overlong == "drop":
            yield _Encoded(number, row.line, encoded, length, "dropped")
        elif settings.on_overlong == "truncate_prompt" and len(encoded.weights) < settings.max_seq_length:
            cut = truncate_prompt(encoded, settings.max_seq_length, len(encoder.leading_ids))
            yield _Encoded(number, row.line, cut, length, "truncated")
        else:
            yield _Encoded(number, row.line, encoded, length, "overlong")


def truncate_prompt(encoded: EncodedExample, max_seq_length: int, leading: int) -> EncodedExample:
    """`encoded` cut to `max_seq_length` ids by taking ids from the prompt's left, after its `leading` special ids."""
    excess = len(encoded.ids) - max_seq_length
    leading = min(leading, encoded.prompt_length - excess)
    return EncodedExample([*encoded.ids[:leading], *encoded.ids[leading + excess :]], encoded.weights)


def _write(folder: Path, source: DatasetFiles, encoded: Iterator[_Encoded]) -> None:
    """Write the Arrow file, and beside it the numbers of the rows that were dropped or cut."""
    from datasets import Features, List, Value
    from datasets.arrow_writer import ArrowWriter

    features = Features({
        "row": Value("int64"), "length": Value("int64"), "weight_sum": Value("float64"), "trained": Value("int64"),
        "ids": List(Value("int32")), "weights": List(Value("float64")),
    })  # fmt: skip
    rows: dict[str, list[_Encoded]] = {"dropped": [], "truncated": [], "overlong": []}
    kept = 0
    with folder_in_one_step(folder) as temporary:
        arrow = str(temporary / "rows.arrow")
        with ArrowWriter(path=arrow, features=features) as writer, track("encode", None, "rows") as bar:
            for item in encoded:
                bar.advance()
                if item.outcome in ("kept", "truncated"):
                    writer.write(_as_record(item))
                    kept += 1
                if item.outcome != "kept":
                    rows[item.outcome].append(item)
            if kept:
                writer.finalize()
        _refuse(source, rows["overlong"], kept, len(rows["dropped"]))
        notes: dict[str, Any] = {name: [item.row for item in rows[name]] for name in ("dropped", "truncated")}
        notes["sha256"] = sha256_file(Path(arrow))
        (temporary / "notes.json").write_text(json.dumps(notes), encoding="utf-8")


def _as_record(item: _Encoded) -> dict[str, object]:
    example = item.example
    return {
        "row": item.row,
        "length": len(example.ids),
        "weight_sum": sum(example.weights),
        "trained": sum(weight > 0 for weight in example.weights),
        "ids": example.ids,
        "weights": example.weights,
    }


def _refuse(source: DatasetFiles, overlong: list[_Encoded], kept: int, dropped: int) -> None:
    if overlong:
        shown = ", ".join(f"line {item.line} ({item.whole_length} tokens)" for item in overlong[:_LISTED])
        more = f" and {len(overlong) - _LISTED} more" if len(overlong) > _LISTED else ""
        longest = max(item.whole_length for item in overlong)
        raise DataError(
            f"{source}: {len(overlong)} row(s) longer than training.max_seq_length: {shown}{more}; set it to {longest} "
            "or more, or set training.on_overlong to 'drop' or 'truncate_prompt' (a completion is never cut)"
        )
    if not kept:
        raise DataError(f"{source}: no row is left to train on ({dropped} dropped as too long)")


def _open(folder: Path, source: DatasetFiles) -> EncodedRows:
    from datasets import Dataset

    notes = json.loads((folder / "notes.json").read_text(encoding="utf-8"))
    arrow = folder / "rows.arrow"
    if sha256_file(arrow) != notes["sha256"]:
        raise ValueError("its bytes are not those that were written")
    rows = EncodedRows(Dataset.from_file(str(arrow)), tuple(notes["dropped"]), tuple(notes["truncated"]))
    for what, numbers in (("dropped as too long", rows.dropped), ("prompt cut from the left", rows.truncated)):
        if numbers:
            log.warning("%s: %d row(s) %s: %s", source, len(numbers), what, _shown(numbers))
    return rows


def _shown(numbers: tuple[int, ...]) -> str:
    shown = ", ".join(str(number) for number in numbers[:_LISTED])
    return shown + (f", … ({len(numbers)} in all)" if len(numbers) > _LISTED else "") + " (row numbers, from 0)"
