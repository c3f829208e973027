"""The dataset as encoded rows: a memory-mapped Arrow file, kept under a content hash, read while being hashed."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinker.config.recipe_models import OverlongPolicy
from thinker.data.dataset_files import DatasetFiles
from thinker.data.encode import EncodedExample, Encoder
from thinker.data.fit import EncodingHash, FittedRow, fit
from thinker.data.jsonl import DataRow
from thinker.errors import DataError
from thinker.files import folder_in_one_step
from thinker.hashing import digest, sha256_file
from thinker.plugins import source_sha256
from thinker.progress import track
from thinker.runs.provenance import library_versions
from thinker.tasks.base import Example, LossWeights, Task, WeightSpan

if TYPE_CHECKING:
    import datasets

log = logging.getLogger("thinker")
_FORMAT = 3
_LISTED = 10
_BATCH_ROWS = 512


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
    on_overlong: OverlongPolicy
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
        encoding_sha256: hash of ids and weights of all rows; the gate's is the same if it saw the same ones.
        total: rows read, dropped ones included.
    """

    def __init__(self, table: datasets.Dataset, notes: dict[str, Any]) -> None:
        self._table = table
        self.row_numbers: list[int] = list(table["row"])
        self.lengths: list[int] = list(table["length"])
        self.weight_sums: list[float] = list(table["weight_sum"])
        self.trained_tokens: list[int] = list(table["trained"])
        self.dropped: tuple[int, ...] = tuple(notes["dropped"])
        self.truncated: tuple[int, ...] = tuple(notes["truncated"])
        self.encoding_sha256: str = notes["encoding_sha256"]

    @classmethod
    def of(cls, examples: Sequence[EncodedExample]) -> EncodedRows:
        """Rows that lie in memory, not in a file."""
        from datasets import Dataset

        table = Dataset.from_list([_as_record(row, example) for row, example in enumerate(examples)])
        return cls(table, {"dropped": (), "truncated": (), "encoding_sha256": ""})

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
    _write(folder, files, _encode(rows, task, encoder, settings), expected_sha256)
    return _open(folder, files)


@dataclass(frozen=True)
class _Encoded:
    row: int
    file: Path
    line: int
    fitted: FittedRow


def _encode(rows: Iterator[DataRow], task: Task, encoder: Encoder, settings: EncodingSettings) -> Iterator[_Encoded]:
    numbered = enumerate(rows)
    while batch := list(islice(numbered, _BATCH_ROWS)):
        examples = [_example(row, task, settings.weights) for _, row in batch]
        for (number, row), encoded in zip(batch, encoder.encode_all(examples), strict=True):
            if isinstance(encoded, ValueError):
                raise DataError(f"{row.file}:{row.line}: {encoded}") from encoded
            fitted = fit(encoded, settings.max_seq_length, settings.on_overlong, len(encoder.leading_ids))
            yield _Encoded(number, row.file, row.line, fitted)


def _example(row: DataRow, task: Task, weights: LossWeights) -> tuple[Example, tuple[WeightSpan, ...]]:
    try:
        example = task.example(row.value)
        return example, task.weight_spans(example.completion, weights)
    except ValueError as error:
        raise DataError(f"{row.file}:{row.line}: {error}") from error


def _write(folder: Path, source: DatasetFiles, encoded: Iterator[_Encoded], expected_sha256: str) -> None:
    """Write the Arrow file, and beside it the numbers of the rows that were dropped or cut."""
    from datasets import Features, List, Value
    from datasets.arrow_writer import ArrowWriter

    features = Features({
        "row": Value("int64"), "length": Value("int64"), "weight_sum": Value("float64"), "trained": Value("int64"),
        "ids": List(Value("int32")), "weights": List(Value("float64")),
    })  # fmt: skip
    rows: dict[str, list[_Encoded]] = {"dropped": [], "truncated": [], "overlong": []}
    kept, encoding = 0, EncodingHash()
    with folder_in_one_step(folder) as temporary:
        arrow = str(temporary / "rows.arrow")
        with ArrowWriter(path=arrow, features=features) as writer, track("encode", None, "rows") as bar:
            for item in encoded:
                bar.advance()
                if item.fitted.is_trained_on:
                    writer.write(_as_record(item.row, item.fitted.example))
                    encoding.add(item.fitted.example)
                    kept += 1
                if item.fitted.outcome != "kept":
                    rows[item.fitted.outcome].append(item)
            if kept:
                writer.finalize()
        _refuse(source, rows["overlong"], kept, len(rows["dropped"]))
        notes: dict[str, Any] = {name: [item.row for item in rows[name]] for name in ("dropped", "truncated")}
        notes |= {"sha256": sha256_file(Path(arrow)), "encoding_sha256": encoding.hexdigest()}
        (temporary / "notes.json").write_text(json.dumps(notes), encoding="utf-8")
        # Encoding takes longer than reading, and the file must be the gate's until it ends.
        source.require_unchanged(source.sha256(), expected_sha256)


def _as_record(row: int, example: EncodedExample) -> dict[str, object]:
    return {
        "row": row,
        "length": len(example.ids),
        "weight_sum": sum(example.weights),
        "trained": sum(weight > 0 for weight in example.weights),
        "ids": example.ids,
        "weights": example.weights,
    }


def _refuse(source: DatasetFiles, overlong: list[_Encoded], kept: int, dropped: int) -> None:
    if overlong:
        one = len(source.paths) == 1
        places = ((f"line {item.line}" if one else f"{item.file}:{item.line}", item) for item in overlong[:_LISTED])
        shown = ", ".join(f"{place} ({item.fitted.whole_length} tokens)" for place, item in places)
        more = f" and {len(overlong) - _LISTED} more" if len(overlong) > _LISTED else ""
        longest = max(item.fitted.whole_length for item in overlong)
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
    rows = EncodedRows(Dataset.from_file(str(arrow)), notes)
    for what, numbers in (("dropped as too long", rows.dropped), ("prompt cut from the left", rows.truncated)):
        if numbers:
            log.warning("%s: %d row(s) %s: %s", source, len(numbers), what, _shown(numbers))
    return rows


def _shown(numbers: tuple[int, ...]) -> str:
    shown = ", ".join(str(number) for number in numbers[:_LISTED])
    return shown + (f", … ({len(numbers)} in all)" if len(numbers) > _LISTED else "") + " (row numbers, from 0)"
