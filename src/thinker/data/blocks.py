"""A file in blocks of whole lines, its bytes hashed while it is read."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Final

from thinker.data.compression import decompressor_for
from thinker.errors import DataError

BLOCK_BYTES: Final = 1 << 18
# Blocks that may wait for the hash: enough that neither side waits for the other's hiccups.
_HASHED_LATER: Final = 8

# glibc hands freed blocks back to the system, which clears them when asked for them again: a fifth of the time that
# checking takes. It keeps them once it has seen a larger one freed (mallopt(3), M_MMAP_THRESHOLD); this costs nothing.
bytes(16 << 20)


class HashedBlocks:
    r"""The text of a file in blocks that end where a line ends; holds a few blocks, and one line of any length.

    A line ends with `\n`; that of the last block may lack it. Text is what a compressed file (`.gz`, `.zst`) stands
    for; size and hash are those of the file as it lies on disk.

    Args:
        block_bytes: read at a time; a block holds no more, and the beginning of a line.
        hash_beside: whether to hash in a thread, beside whatever is done with the blocks; it takes a core to be of use.

    Raises:
        DataError: the file cannot be read, or decompressed.
        PreconditionError: a package that its compression takes is not installed.
    """

    def __init__(self, path: Path, block_bytes: int = BLOCK_BYTES, *, hash_beside: bool = True) -> None:
        self.path = path
        self._block_bytes = block_bytes
        self._decompressor = decompressor_for(path)
        self._hash = _HashBeside() if hash_beside else _Hash()
        self._bytes_read = 0
        self._finished = False
        self._file = self._open()
        self._blocks = self._split()

    def __enter__(self) -> HashedBlocks:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go, wherever the reading stands."""
        self._blocks.close()
        self._file.close()
        self._hash.close()

    def __iter__(self) -> Iterator[bytes]:
        return self._blocks

    def drain(self) -> None:
        """Read and hash what is left of the file, without making blocks of it or decompressing it."""
        self._blocks.close()
        while self._read():
            pass

    @property
    def bytes_read(self) -> int:
        """Bytes read so far from the disk."""
        return self._bytes_read

    @property
    def size_bytes(self) -> int:
        """Size of the file, as read. Raises RuntimeError before its end is reached."""
        self._require_end()
        return self._bytes_read

    @property
    def sha256(self) -> str:
        """SHA-256 of all bytes, in hex. Raises RuntimeError before the file's end is reached."""
        self._require_end()
        return self._hash.hexdigest()

    def _require_end(self) -> None:
        if not self._finished:
            raise RuntimeError(f"{self.path} has not been read to its end: iterate further or call drain()")

    def _open(self) -> BinaryIO:
        try:
            return self.path.open("rb", buffering=0)
        except OSError as error:
            raise DataError(f"cannot read {self.path}: {error.strerror}") from error

    def _read(self) -> bytes:
        if self._finished:
            return b""
        try:
            data = self._file.read(self._block_bytes)
        except OSError as error:
            raise DataError(f"cannot read {self.path} past byte {self._bytes_read}: {error.strerror}") from error
        self._bytes_read += len(data)
        if data:
            self._hash.update(data)
        else:
            self._finished = True
            self._file.close()
            self._hash.finish()
        return data

    def _text(self) -> Iterator[bytes]:
        while data := self._read():
            if self._decompressor is None:
                yield data
            else:
                yield from self._decompressor.feed(data)
        if self._decompressor is not None:
            self._decompressor.finish()

    def _split(self) -> Generator[bytes, None, None]:
        begun: list[bytes] = []
        for data in self._text():
            end = data.rfind(b"\n") + 1
            if end:
                yield b"".join((*begun, memoryview(data)[:end]))
                begun = []
            if end < len(data):
                begun.append(data[end:])
        if begun:
            yield b"".join(begun)


class _Hash:
    """SHA-256 of what comes in."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, data: bytes) -> None:
        """Hash `data`."""
        self._hash.update(data)

    def finish(self) -> None:
        """Wait until all is hashed."""

    def close(self) -> None:
        """Stop, whether or not all is hashed."""

    def hexdigest(self) -> str:
        """The hash, once all is hashed."""
        return self._hash.hexdigest()


class _HashBeside(_Hash):
    """The same in a thread of its own: hashing lets go of the interpreter, so that checking goes on meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="thinker-hash")
        self._waiting: deque[Future[None]] = deque()

    def update(self, data: bytes) -> None:
        if len(self._waiting) == _HASHED_LATER:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(self._hash.update, data))

    def finish(self) -> None:
        while self._waiting:
            self._waiting.popleft().result()
        self.close()

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)
