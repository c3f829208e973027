"""What a test suite prints: shown, kept, and masked, also what the programs it starts print."""

from __future__ import annotations

import codecs
import contextlib
import functools
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, TextIO, cast

from thinker.errors import RecordError
from thinker.secrets import MaskingStream, mask

log = logging.getLogger("thinker")

_ANSI: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Transcript:
    """Keeps what is written, line by line, without colours and secrets. Without a path it keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._line = ""
        self._file: TextIO | None = None

    def __enter__(self) -> Transcript:
        if self._path is not None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n")
            except OSError as error:
                raise RecordError(f"pytest's output cannot be kept in {self._path}: {error.strerror}") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._line:
            self.write("\n")
        file, self._file = self._file, None
        if file is not None:
            self._try(file.close)

    def write(self, text: str) -> None:
        """Keep `text`; from the first failure on (a full disk) nothing more is kept, and a warning says so."""
        if self._file is None:
            return
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if self._file is not None:
                self._try(functools.partial(self._file.write, mask(_ANSI.sub("", line)) + "\n"))

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            self._file = None
            log.warning("pytest's output is not kept in full in %s: %s", self._path, error.strerror)


class Tee:
    """A text stream whose output is also kept.

    Args:
        stream: shows what is written.
        transcript: keeps it.
        before: called ahead of each write.
    """

    def __init__(self, stream: TextIO, transcript: Transcript, before: Callable[[], None] | None = None) -> None:
        self._stream, self._transcript, self._before = stream, transcript, before

    def write(self, text: str) -> int:
        if self._before is not None:
            self._before()
        self._stream.write(text)
        self._transcript.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def suite_streams(stream: TextIO, transcript: Transcript) -> Iterator[Callable[[], None]]:
    """Streams for a suite's output and errors; calling what this gives puts them in place, until someone else does.

    Programs that tests start write to the file descriptors 1 and 2 and know of no mask. What they write there is
    spooled, and goes to the same streams whenever this process writes next.
    """
    flush_everything()  # what was written before belongs to where the descriptors lead now
    with contextlib.ExitStack() as stack:
        out, err = (_beside_descriptor(each, stack) for each in (stream, sys.stderr))
        spools = [stack.enter_context(_Spool(Tee(each, transcript))) for each in (out, err)]

        def catch_up() -> None:
            for spool in spools:
                spool.pass_on()

        def put_in_place() -> None:
            sys.stdout = cast(TextIO, Tee(out, transcript, catch_up))
            sys.stderr = cast(TextIO, Tee(err, transcript, catch_up))
            for descriptor, spool in enumerate(spools, start=1):
                spool.take(descriptor)

        yield put_in_place


def flush_everything() -> None:
    """Let go of what is still held back for the descriptors in place now."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or never there
            stream.flush()  # type: ignore[union-attr]


def _beside_descriptor(stream: TextIO, stack: contextlib.ExitStack) -> TextIO:
    """`stream`, or where it writes to descriptor 1 or 2, a masked stream to where that leads now."""
    stream.flush()
    try:
        descriptor = stream.fileno()
    except (AttributeError, OSError, ValueError):  # not a file: text kept in memory, or a notebook's cell
        return stream
    if descriptor not in (1, 2):
        return stream
    encoding = getattr(stream, "encoding", None) or "utf-8"
    file = os.fdopen(os.dup(descriptor), "w", encoding=encoding, errors="backslashreplace", buffering=1)
    return cast(TextIO, MaskingStream(stack.enter_context(file)))


class _Spool:
    """A file that stands in for a descriptor; whole lines of it go to a text stream, the rest when it is left."""

    def __init__(self, sink: Tee) -> None:
        self._sink = sink
        self._decode = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode
        self._place = 0
        self._rest = ""

    def __enter__(self) -> _Spool:
        # Appending, so that reading does not move the place where others write.
        self._file = tempfile.TemporaryFile("a+b", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        with self._file:
            self.pass_on()
        self._sink.write(self._rest + self._decode(b"", final=True))

    def take(self, descriptor: int) -> None:
        """From now on what is written to `descriptor` comes here."""
        os.dup2(self._file.fileno(), descriptor)

    def pass_on(self) -> None:
        """Write the lines that have come since the last time."""
        if os.fstat(self._file.fileno()).st_size == self._place:
            return
        self._file.seek(self._place)
        found = self._file.read()
        self._place += len(found)
        lines, newline, self._rest = (self._rest + self._decode(found)).rpartition("\n")
        self._sink.write(lines + newline)
