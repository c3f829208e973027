"""Where the passes over a dataset leave what they find: sorted by level, counted, kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from thinker.config.pipeline_models import CheckLevel
from thinker.data.dataset_files import DatasetFiles
from thinker.validation import codes
from thinker.validation.problems import Problem, ProblemLog, clean_field, clean_message


class Report:
    """The problems of one pass.

    Args:
        files: the dataset; a problem that names no file is one of all, and stands at the first.
        levels: by code, as `codes.levels` gives them.
        keep: so many errors, and so many warnings, stay in memory; the others go to a temporary file.

    Attributes:
        counts: errors and warnings of each code that occurred.
    """

    def __init__(self, files: DatasetFiles, levels: Mapping[str, CheckLevel], keep: int = 10_000) -> None:
        self._paths = files.paths
        self._levels = levels
        self.errors, self.warnings = ProblemLog(keep), ProblemLog(keep)
        self.counts: Counter[str] = Counter()

    def level(self, rule: str) -> CheckLevel:
        """The level of the check called `rule`."""
        return self._levels[codes.by_slug(rule).code]

    def add(
        self,
        rule: str,
        line: int | None,
        field: str,
        message: str,
        excerpt: str = "",
        *,
        file: Path | None = None,
        level: CheckLevel | None = None,
    ) -> None:
        """Keep a problem, unless its check is off; `level` stands in place of the check's."""
        code = codes.by_slug(rule).code
        level = level or self._levels[code]
        if level == "off":
            return
        self.counts[code] += 1
        log = self.errors if level == "error" else self.warnings
        if file is None and len(self._paths) > 1:
            message = f"{message} (all {len(self._paths)} files)"
        place = str(file or self._paths[0])
        log.append(Problem(code, level, place, line, clean_field(field), rule, clean_message(message), excerpt))
