"""The blocks of all files of a dataset, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from thinker.data.blocks import BLOCK_BYTES, HashedBlocks
from thinker.data.dataset_files import DatasetFiles, FileContent
from thinker.errors import DataError


class PlacedBlock(NamedTuple):
    """Some whole lines of a file.

    Attributes:
        starts_file: whether they are the file's first.
    """

    file: Path
    data: bytes
    starts_file: bool


class DatasetBlocks:
    """Reads the files of a dataset in order and hashes them; use it in a `with` statement.

    Args:
        files: the dataset.
        block_bytes, hash_beside: as of `HashedBlocks`.

    Attributes:
        contents: of the files read to their end.

    Raises:
        DataError: a file cannot be read, or decompressed.
        PreconditionError: a package that its compression takes is not installed.
    """

    def __init__(self, files: DatasetFiles, block_bytes: int = BLOCK_BYTES, *, hash_beside: bool = True) -> None:
        self._block_bytes, self._hash_beside = block_bytes, hash_beside
        self._paths = iter(files.paths)
        self._current: HashedBlocks | None = None
        self.contents: list[FileContent] = []
        self._size_bytes = 0

    def __enter__(self) -> DatasetBlocks:
        return self

    def __exit__(self, *_: object) -> None:
        if self._current is not None:
            self._current.close()

    def __iter__(self) -> Iterator[PlacedBlock]:
        while (blocks := self._next_file()) is not None:
            starts_file = True
            for data in blocks:
                yield PlacedBlock(blocks.path, data, starts_file)
                starts_file = False

    def drain(self) -> None:
        """Read and hash what is left, without making blocks of it or decompressing it."""
        if self._current is not None:
            self._current.drain()
        while (blocks := self._next_file()) is not None:
            blocks.drain()

    @property
    def bytes_read(self) -> int:
        """Bytes read so far from the disk."""
        return self._size_bytes + (self._current.bytes_read if self._current else 0)

    def _next_file(self) -> HashedBlocks | None:
        if self._current is not None:
            content = FileContent(self._current.path, self._current.sha256, self._current.size_bytes)
            self.contents.append(content)
            self._size_bytes += content.size_bytes
            self._current.close()
        path = next(self._paths, None)
        self._current = self._open(path) if path else None
        return self._current

    def _open(self, path: Path) -> HashedBlocks:
        return HashedBlocks(path, self._block_bytes, hash_beside=self._hash_beside)


def total_bytes(files: DatasetFiles) -> int:
    """What the files take on the disk.

    Raises:
        DataError: one of them is not there.
    """
    total = 0
    for path in files.paths:
        try:
            total += path.stat().st_size
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}") from error
    return total
