"""Every problem as a JSON object in a line of its own."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, TextIO

from thinker.validation.reports.problem_fields import as_json

if TYPE_CHECKING:
    from thinker.validation.dataset import DatasetValidationResult


def write_jsonl(result: DatasetValidationResult, out: TextIO) -> None:
    """Errors, then warnings, with the fields of `thinker.validation.problems.Problem`."""
    for problem in itertools.chain(result.errors, result.warnings):
        out.write(json.dumps(as_json(problem), ensure_ascii=False) + "\n")
