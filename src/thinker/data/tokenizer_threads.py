"""The threads of the `tokenizers` library: on while a batch is tokenized, otherwise off.

A process that forks after they were used is warned about on standard error, or hangs. So the command line keeps them
off (`keep_off`), and only what tokenizes many texts at once turns them on for that while. Who sets
TOKENIZERS_PARALLELISM decides for both.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

_VARIABLE: Final = "TOKENIZERS_PARALLELISM"
_ours = False


def keep_off() -> None:
    """From now on no threads in this process, unless the user's environment says otherwise."""
    global _ours
    if _VARIABLE not in os.environ:
        os.environ[_VARIABLE] = "false"
        _ours = True


@contextlib.contextmanager
def all_cores() -> Iterator[None]:
    """Let `tokenizers` use all cores within the block; RAYON_NUM_THREADS lowers their number."""
    before = os.environ.get(_VARIABLE)
    if before is not None and not _ours:
        yield
        return
    os.environ[_VARIABLE] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before
