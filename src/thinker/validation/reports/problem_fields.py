"""What all reports say of a problem, and how."""

from __future__ import annotations

import functools
import os
import urllib.parse
from pathlib import Path
from typing import Any

from thinker.config.source import shown_path
from thinker.validation.problems import Problem


def shown_file(problem: Problem) -> str:
    """The dataset's file, from the current folder if it lies in there."""
    return _shown(problem.file, os.getcwd())  # noqa: PTH109 - a string is enough, and soon had


@functools.lru_cache(maxsize=64)
def _shown(file: str, folder: str) -> str:
    """`shown_path` of the file while `folder` is the current one; a dataset has few files and many problems."""
    return shown_path(Path(file))


def said(problem: Problem) -> str:
    """Field and message."""
    return f"{problem.field}: {problem.message}" if problem.field else problem.message


def as_json(problem: Problem) -> dict[str, Any]:
    """The problem as plain data, with its file as `shown_file`."""
    return {**vars(problem), "file": shown_file(problem)}


def uri(problem: Problem) -> str:
    """The dataset's file as a URI, relative where it lies in the current folder."""
    path = Path(shown_file(problem))
    return path.as_uri() if path.is_absolute() else urllib.parse.quote(path.as_posix())
