"""The log of one run: everything said on the logger `thinker`, and the warnings apart."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from thinker.runs.files import clean_text

_LOGGER = logging.getLogger("thinker")


class RunLog(logging.Handler):
    """Writes `run.log`, secrets masked, and keeps the warnings, between `start` and `stop`.

    The logger's own level is DEBUG meanwhile, so what a terminal shows is for its handler's level to say.

    Attributes:
        path: the log file.
        warnings: messages of level WARNING, in order, each once; masked when they enter the record.
        problem: why the file is incomplete (a full disk), or None.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(logging.DEBUG)
        self.path = path
        self.warnings: list[str] = []
        self.problem: OSError | None = None
        formatter = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        formatter.converter = time.gmtime
        self.setFormatter(formatter)
        self._stream = path.open("a", encoding="utf-8", newline="\n")
        self._level_before = logging.NOTSET

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, and keep it if it is a warning. A message that cannot be formatted is logging's to report."""
        try:
            text = clean_text(self.format(record))
            message = record.getMessage()
        except (TypeError, ValueError):
            self.handleError(record)
            return
        if record.levelno == logging.WARNING and message not in self.warnings:
            self.warnings.append(message)
        if self.problem is None:
            try:
                self._stream.write(text + "\n")
                self._stream.flush()
            except OSError as error:
                self.problem = error

    def start(self) -> None:
        """Begin to listen."""
        self._level_before = _LOGGER.level
        _LOGGER.setLevel(logging.DEBUG)
        _LOGGER.addHandler(self)

    def stop(self) -> None:
        """Stop listening and close the file. Once is enough; more does no harm."""
        if self not in _LOGGER.handlers:
            return
        _LOGGER.removeHandler(self)
        _LOGGER.setLevel(self._level_before)
        try:
            self._stream.close()
        except OSError as error:
            self.problem = self.problem or error
        self.close()
