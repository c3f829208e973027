"""Keeps secrets out of everything that is printed or written.

Three kinds are known: values registered here, values of environment variables whose name says so, and texts in the
shape of a token. A value once seen in the environment stays secret for the life of the process.
"""

from __future__ import annotations

import functools
import json
import os
import re
import threading
import urllib.parse
from collections.abc import Iterable
from typing import Any, Final, TextIO

MASK: Final = "***"

# Shorter texts occur by chance; masking them would spoil every message without hiding anything.
_MIN_REGISTERED: Final = 4
_MIN_ENVIRONMENT: Final = 8
_SECRET_NAME: Final = re.compile(r"(?:TOKEN|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|SECRET|PASSWORD|PASSWD)\Z", re.IGNORECASE)
# "html-…" ends in the letters of a Tinker key's prefix.
_TOKEN_SHAPE: Final = r"hf_[A-Za-z0-9]{20,}|(?<![hH])tml-[A-Za-z0-9_-]{8,}"

_lock = threading.Lock()
_values: set[str] = set()
_pattern = re.compile(_TOKEN_SHAPE)
_seen_environment: dict[Any, Any] | None = None


def register(value: str) -> None:
    """Mask `value` from now on, also where it is escaped as in JSON or in an address."""
    if len(value.strip()) >= _MIN_REGISTERED:
        _remember([value.strip()])


@functools.lru_cache(maxsize=4096)
def looks_secret(name: str) -> bool:
    """Whether a variable or key of this name holds a secret: `HF_TOKEN`, `api_key`, not `max_new_tokens`."""
    return _SECRET_NAME.search(name) is not None


def mask(text: str) -> str:
    """`text` with every known secret replaced by `***`."""
    _look_at_environment()
    return _pattern.sub(MASK, text)


class MaskingStream:
    """A text stream that masks what is written to it; everything else is the stream's own.

    Each `write` is masked by itself: a secret cut in two by its writer passes.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write `text`, masked; returns the length of `text`, as the caller expects."""
        self._stream.write(mask(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of `lines`, masked."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _look_at_environment() -> None:
    """Remember the secrets of variables that are new, at the price of a comparison where none is."""
    global _seen_environment
    # What CPython keeps behind `os.environ`; reading that itself decodes every name and value anew.
    environment = getattr(os.environ, "_data", None)
    if environment is not None and environment == _seen_environment:
        return
    values = (os.environ.get(name, "").strip() for name in os.environ if looks_secret(name))
    unseen = [value for value in values if len(value) >= _MIN_ENVIRONMENT and value not in _values]
    if unseen:
        _remember(unseen)
    _seen_environment = dict(environment) if environment is not None else None


def _remember(values: Iterable[str]) -> None:
    global _pattern
    with _lock:
        _values.update(values)
        forms = {form for value in _values for form in _written_forms(value)}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        _pattern = re.compile("|".join([*map(re.escape, longest_first), _TOKEN_SHAPE]))


def _written_forms(value: str) -> set[str]:
    in_json = {json.dumps(value, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    return {value, *in_json, *(urllib.parse.quote(value, safe, errors="backslashreplace") for safe in ("", "/"))}
