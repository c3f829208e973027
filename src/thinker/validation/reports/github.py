"""GitHub's workflow commands, which show a problem beside the line of the file that it is about.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands. GitHub shows ten errors and ten
warnings of a step, so no more are written; how many there are is told at the end.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, TextIO

from thinker.validation.problems import Problem
from thinker.validation.reports.problem_fields import said, shown_file

if TYPE_CHECKING:
    from thinker.validation.dataset import DatasetValidationResult

_SHOWN: Final = 10


def write_github(result: DatasetValidationResult, out: TextIO) -> None:
    """The first ten errors and the first ten warnings."""
    for command, problems in (("error", result.errors), ("warning", result.warnings)):
        for problem in itertools.islice(problems, _SHOWN):
            out.write(_annotation(command, problem))
        if len(problems) > _SHOWN:
            out.write(f"::notice title=thinker::{len(problems) - _SHOWN} more {command}s\n")


def _annotation(command: str, problem: Problem) -> str:
    line = f",line={problem.line}" if problem.line else ""
    place = f"file={_property(shown_file(problem))}{line}"
    return f"::{command} {place},title={_property(f'{problem.code} {problem.rule}')}::{_data(said(problem))}\n"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
