"""Whether rows of one kind leave room for the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from thinker.tasks.base import LabelsExamples, Task
from thinker.validation.preflight import CheckedRow, Found
from thinker.validation.problems import excerpt_of_text

# Above this share, whoever always gives the one answer is right 19 times in 20: no figure shows then what was learned.
_ALMOST_ALL: Final = 0.95
# Of fewer rows a share says little.
_ROWS_TO_JUDGE: Final = 100
# More different completions than this are texts, not labels.
_MOST_LABELS: Final = 20


class LabelBalance:
    """The check of how rows spread over labels: those that the task gives, or completions where they are few.

    Keeps the labels, at most `_MOST_LABELS` of them, whatever the number of rows.
    """

    rules: tuple[str, ...] = ("imbalance",)

    def __init__(self, task: Task) -> None:
        self._labels = task if isinstance(task, LabelsExamples) else None
        self._counts: Counter[str] = Counter()
        self._too_many = False

    def rows(self, batch: Sequence[CheckedRow]) -> Iterable[Found]:
        """Nothing: a row by itself is not unbalanced."""
        for row in batch:
            if self._too_many:
                break
            label = self._labels.label(row.example) if self._labels else row.example.completion.strip()
            self._counts[label] += 1
            self._too_many = len(self._counts) > _MOST_LABELS
        return ()

    def finish(self) -> Iterator[Found]:
        """Whether one label makes up almost all rows."""
        rows = self._counts.total()
        if self._too_many or rows < _ROWS_TO_JUDGE:
            return
        label, count = self._counts.most_common(1)[0]
        if count >= _ALMOST_ALL * rows:
            what = "label" if self._labels else "completion"
            yield Found("imbalance", f"{count} of {rows} rows have the {what} '{excerpt_of_text(label)}'")

    def statistics(self) -> Mapping[str, Any]:
        """`labels`: label -> rows, most frequent first; nothing where completions are too many, or rows too few."""
        if self._too_many or not (self._labels or self._counts.total() >= _ROWS_TO_JUDGE):
            return {}
        shown: Counter[str] = Counter()
        for label, count in self._counts.most_common():
            shown[excerpt_of_text(label)] += count
        return {"labels": dict(shown)}
