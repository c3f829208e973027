"""The files of a dataset: read in order as one, and known by the hash of their bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from thinker.data.jsonl import DataRow, HashingLines, ParsedRow, RawLine, first_error, parse_row
from thinker.errors import DataError
from thinker.hashing import digest


class PlacedRow(NamedTuple):
    """A line that is not blank, where it stands, and what it holds."""

    number: int
    """Place among the dataset's rows, from 0; broken rows count."""
    file: Path
    raw: RawLine
    parsed: ParsedRow


class FileContent(NamedTuple):
    """A file as it was read."""

    path: Path
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class DatasetFiles:
    """The files of a dataset, in the order in which they are read.

    Attributes:
        paths: at least one.
    """

    paths: tuple[Path, ...]

    @classmethod
    def of(cls, paths: Path | Sequence[Path]) -> DatasetFiles:
        """The dataset of one file, or of several in this order."""
        return cls((paths,) if isinstance(paths, Path) else tuple(paths))

    def __str__(self) -> str:
        return str(self.paths[0]) if len(self.paths) == 1 else f"{self.paths[0]} and {len(self.paths) - 1} more"

    def sha256(self) -> str:
        """The dataset's hash, all of its bytes read now.

        Raises:
            DataError: a file cannot be read.
        """
        hashes = []
        for path in self.paths:
            with HashingLines(path) as lines:
                lines.drain()
            hashes.append(lines.sha256)
        return combined_sha256(hashes)

    def parsed(self, *, max_examples: int | None = None, expected_sha256: str | None = None) -> Iterator[PlacedRow]:
        """All lines that are not blank, broken rows included, in order.

        Every file is hashed to its end, also beyond `max_examples`, before the iterator ends: whoever stops earlier
        does not know whether the rows are those that were checked.

        Raises:
            DataError: a file cannot be read, or the files are not those of `expected_sha256`.
        """
        count = 0
        hashes = []
        try:
            for path in self.paths:
                with HashingLines(path) as lines:
                    for raw in lines:
                        if raw.blank:
                            continue
                        if count == max_examples:
                            break
                        yield PlacedRow(count, path, raw, parse_row(raw))
                        count += 1
                    lines.drain()
                    hashes.append(lines.sha256)
        except DataError:
            if expected_sha256 is not None:  # an edit since the gate is the better explanation
                self.require_unchanged(self.sha256(), expected_sha256)
            raise
        self.require_unchanged(combined_sha256(hashes), expected_sha256)

    def rows(self, *, max_examples: int | None = None, expected_sha256: str | None = None) -> Iterator[DataRow]:
        """The rows for encoding, as `parsed`.

        Raises:
            DataError: as `parsed`; or a line is no row (names file and line).
        """
        rows = self.parsed(max_examples=max_examples, expected_sha256=expected_sha256)
        for row in rows:
            if row.parsed.value is None:
                if expected_sha256 is not None:
                    self.require_unchanged(self.sha256(), expected_sha256)
                raise DataError(first_error(row.file, row.raw.number, row.parsed))
            yield DataRow(row.raw.number, row.parsed.value, row.file)

    def require_unchanged(self, found: str, expected_sha256: str | None) -> None:
        """Refuse bytes other than those that were checked (None: whatever they are).

        Raises:
            DataError: the dataset changed after it was checked.
        """
        if expected_sha256 is not None and found != expected_sha256:
            raise DataError(f"the dataset {self} changed after it was checked; run `thinker validate` again")


def iter_rows(path: Path) -> Iterator[DataRow]:
    """The rows of one file; blank lines are skipped.

    Raises:
        DataError: the file cannot be read, or a line is no row (names file and line).
    """
    return DatasetFiles.of(path).rows()


def combined_sha256(hashes: Sequence[str]) -> str:
    """One hash for a dataset: that of its only file, or of the list of its files' hashes; names do not count."""
    return hashes[0] if len(hashes) == 1 else digest({"files": list(hashes)})
