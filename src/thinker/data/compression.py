"""Files that are decompressed while they are read: gzip (RFC 1952) and Zstandard (RFC 8878).

What a few bytes expand to may be enormous, so the text comes in pieces of bounded size, each made when it is asked for.
"""

from __future__ import annotations

import importlib
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Protocol

from thinker.errors import DataError, PreconditionError

COMPRESSED_SUFFIXES: Final = (".gz", ".zst")

_INPUT_BYTES: Final = 1 << 16
_PIECE_BYTES: Final = 1 << 18
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS  # zlib.h, inflateInit2: 16 asks for gzip's header and checksum


class _Frame(Protocol):
    """A gzip member or Zstandard frame, of which a file may hold several in a row."""

    rest: bytes | None
    """What was fed beyond the frame's end; None until the end is reached."""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What `data`, the frame's next bytes, expands to."""
        ...


@dataclass(frozen=True)
class _Format:
    """What tells the two formats apart.

    Attributes:
        starts: whether some bytes, no more than `magic_bytes`, may be how a frame begins.
        error: what a frame raises for damaged data.
    """

    name: str
    suffix: str
    magic_bytes: int
    starts: Callable[[bytes], bool]
    frame: Callable[[], _Frame]
    error: type[Exception]


def decompressor_for(path: Path) -> Decompressor | None:
    """What decompresses the file, as the last suffix of its name says, in any case; None for a plain file.

    Raises:
        PreconditionError: a `.zst` file, and nothing is installed that reads it.
    """
    match path.suffix.lower():
        case ".gz":
            return Decompressor(path, _GZIP)
        case ".zst":
            return Decompressor(path, _zstd_format(path))
    return None


class Decompressor:
    """Turns the bytes of one compressed file into the text they stand for.

    Feed it all bytes in order, each time reading to the end what comes back, then call `finish`.
    """

    def __init__(self, path: Path, form: _Format) -> None:
        self._path, self._format = path, form
        self._frame: _Frame | None = None
        self._frames = 0
        self._head = b""
        self._text_bytes = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The text of the file's next bytes, in pieces of at most 256 KiB, none of them empty.

        Raises:
            DataError: the data are damaged, or not in the format that the file's name says.
        """
        for at in range(0, len(data), _INPUT_BYTES):
            yield from self._feed(data[at : at + _INPUT_BYTES])

    def finish(self) -> None:
        """Say that the file has no more bytes.

        Raises:
            DataError: it ends too early.
        """
        if self._frame is not None or self._head:
            raise DataError(
                f"{self._path} is cut off: its {self._format.name} data end too early, after {self._text_bytes} bytes "
                "of text; make the file again, or copy it anew"
            )
        if self._frames == 0:
            raise DataError(
                f"{self._path} is empty, which no {self._format.name} file is; make the file again, or copy it anew"
            )

    def _feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._frame is None:
                data = self._begin(data)
                if self._frame is None:
                    return
            yield from self._pieces(self._frame, data)
            if self._frame.rest is None:
                return
            data, self._frame = self._frame.rest, None

    def _begin(self, data: bytes) -> bytes:
        """Open a frame once enough of its first bytes are there, and give those it is to be fed with."""
        data, self._head = self._head + data, b""
        form = self._format
        if not form.starts(data[: form.magic_bytes]):
            raise DataError(f"{self._path} {self._not_in_format()}")
        if len(data) < form.magic_bytes:
            self._head = data
        else:
            self._frame = form.frame()
            self._frames += 1
        return data

    def _not_in_format(self) -> str:
        name, suffix = self._format.name, self._format.suffix
        if self._frames == 0:
            return f"is not in {name} format, as its name says; if it is plain text, take {suffix} off its name"
        return (
            f"goes on after the end of its {name} data, {self._text_bytes} bytes of text, with something else; "
            "make the file again, or copy it anew"
        )

    def _pieces(self, frame: _Frame, data: bytes) -> Iterator[bytes]:
        try:
            for piece in frame.pieces(data):
                self._text_bytes += len(piece)
                yield piece
        except self._format.error as error:
            what = str(error).rpartition(": ")[2]  # zlib and zstd: "Error … while decompressing data: what"
            raise DataError(
                f"{self._path}: the {self._format.name} data cannot be decompressed past {self._text_bytes} bytes of "
                f"text ({what[:1].lower()}{what[1:]}); make the file again, or copy it anew"
            ) from error


class _GzipMember:
    def __init__(self) -> None:
        self.rest: bytes | None = None
        self._decoder = zlib.decompressobj(_GZIP_WINDOW)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        decoder = self._decoder
        while data and not decoder.eof:  # at the end, `unconsumed_tail` may still be what it was
            piece = decoder.decompress(data, _PIECE_BYTES)
            data = decoder.unconsumed_tail
            if piece:
                yield piece
        if decoder.eof:
            self.rest = decoder.unused_data


class _ZstdFrame:
    def __init__(self, zstd: ModuleType) -> None:
        self.rest: bytes | None = None
        self._decoder: Any = zstd.ZstdDecompressor()

    def pieces(self, data: bytes) -> Iterator[bytes]:
        decoder = self._decoder
        while not decoder.eof:
            piece = decoder.decompress(data, _PIECE_BYTES)
            data = b""  # the decoder keeps what it has not used yet
            if piece:
                yield piece
            if decoder.needs_input and not decoder.eof:
                return
        self.rest = decoder.unused_data


def _starts_gzip(head: bytes) -> bool:
    return b"\x1f\x8b".startswith(head)


def _starts_zstd(head: bytes) -> bool:
    """RFC 8878, 3.1.1 and 3.1.2: a frame, or one to be skipped, of which there are sixteen magic numbers."""
    skippable = head[0] & 0xF0 == 0x50 and b"\x2a\x4d\x18".startswith(head[1:])
    return skippable or b"\x28\xb5\x2f\xfd".startswith(head)


_GZIP: Final = _Format("gzip", ".gz", 2, _starts_gzip, _GzipMember, zlib.error)


def _zstd_format(path: Path) -> _Format:
    module = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    try:
        zstd = importlib.import_module(module)
    except ImportError as error:
        raise PreconditionError(
            f"{path}: reading .zst needs the package {module}; install Thinker with the extra 'zstd' "
            "(in its folder: pip install '.[zstd]'), or compress the file with gzip"
        ) from error
    return _Format("zstd", ".zst", 4, _starts_zstd, lambda: _ZstdFrame(zstd), zstd.ZstdError)
