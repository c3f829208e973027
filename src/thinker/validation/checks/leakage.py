"""Rows to train on beside the records to evaluate: what is in both was not held out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from thinker.config.experiment import Experiment
from thinker.tasks.base import ComparedPrompt, ComparesPrompts, EvalRecord, Prompt, Task, evaluation_inputs, prompt_text
from thinker.validation.checks.special_text import prompt_texts
from thinker.validation.near_duplicates import NearDuplicates
from thinker.validation.normalise import normalise
from thinker.validation.preflight import Check, CheckedRow, Found
from thinker.validation.problems import excerpt_of_text

log = logging.getLogger("thinker")


def leakage_checks(experiment: Experiment, task: Task) -> list[Check]:
    """The check of rows against the records that `evaluation` names; none where it names no files of records.

    Rows that `validation_split` holds out are no such records. A dataset that no training reads may well be the one to
    evaluate.
    """
    evaluation = experiment.pipeline.evaluation
    inputs = evaluation_inputs(evaluation) if evaluation else {}
    if evaluation is None or not inputs or not all(key in inputs for key in task.required_inputs):
        return []
    dataset = {path.resolve() for path in experiment.dataset.paths}
    for key, path in inputs.items():
        if not path.is_file():
            log.warning("rows are not compared with the records to evaluate: no such file: evaluation.%s %s", key, path)
            return []
        if path.resolve() in dataset:
            return [DatasetIsEvaluated(key, path)] if experiment.pipeline.training else []
    return [Leakage(task, lambda: task.records(evaluation, ()))]


class Leakage:
    """The check of rows against records. A row has one finding, the strongest, and one for each document first seen.

    Keeps the records, their texts and shingles, whatever the number of rows.

    Args:
        task: says what of a prompt is compared.
        records: reads the records to evaluate, when the first rows come.

    Raises:
        DataError: from `rows`: the records cannot be read.
    """

    rules: tuple[str, ...] = ("leak", "leak-normalised", "leak-near", "shared-document")

    def __init__(self, task: Task, records: Callable[[], Sequence[EvalRecord]]) -> None:
        self._compared = task.compared if isinstance(task, ComparesPrompts) else _whole
        self._load = records
        self._records: _Records | None = None
        self._shared: set[str] = set()
        self._counts: Counter[str] = Counter()

    def rows(self, batch: Sequence[CheckedRow]) -> Iterator[Found]:
        """Rows that ask what a record asks, and documents that a record's prompt holds too."""
        if self._records is None:
            self._records = _Records(self._load(), self._compared)
        for row in batch:
            compared = self._compared(row.example.prompt)
            if said := self._records.same(row.example.prompt, compared.text):
                rule, message = said
                self._counts[rule] += 1
                fields = [field for field, _ in prompt_texts(row)]
                yield Found(rule, message, row, fields[-1] if fields else "", compared.text)
            for document in compared.documents:
                if document in self._records.documents and document not in self._shared:
                    self._shared.add(document)
                    holders = self._records.documents[document]
                    yield Found("shared-document", f"document {document} is also in the prompt of {holders}", row)

    def finish(self) -> Iterable[Found]:
        """Nothing: rows are held against records one by one."""
        return ()

    def statistics(self) -> Mapping[str, Any]:
        """`leakage`: records compared with, rows by what they have in common with one, documents in both."""
        if self._records is None:
            return {}
        rows = {rule: self._counts[rule] for rule in ("leak", "leak-normalised", "leak-near")}
        return {"leakage": {"records": self._records.count, "rows": rows, "shared_documents": len(self._shared)}}


class _Records:
    """The records to evaluate, ready to be looked up.

    Args:
        records: in file order.
        compared: says what of a prompt is compared.

    Attributes:
        count: how many there are.
        documents: id -> the records whose prompts hold it, in words.
    """

    def __init__(self, records: Sequence[EvalRecord], compared: Callable[[Prompt], ComparedPrompt]) -> None:
        self.count = len(records)
        self._prompts: dict[Prompt, str] = {}
        self._texts: dict[str, tuple[str, str]] = {}
        holders: dict[str, list[str]] = {}
        for record in records:
            of_prompt = compared(record.prompt)
            self._prompts.setdefault(record.prompt, record.record_id)
            self._texts.setdefault(normalise(of_prompt.text), (record.record_id, of_prompt.text))
            for document in of_prompt.documents:
                holders.setdefault(document, []).append(record.record_id)
        self._near = NearDuplicates(list(self._texts))
        self._by_place = list(self._texts.values())
        self.documents = {document: _named(ids) for document, ids in holders.items()}

    def same(self, prompt: Prompt, text: str) -> tuple[str, str] | None:
        """The strongest rule that a row breaks, and what is to be said of it; a blank text is like none.

        Args:
            prompt: the row's.
            text: what of it is compared.
        """
        if not text.strip():
            return None
        if (record_id := self._prompts.get(prompt)) is not None:
            return "leak", f"the prompt of record {record_id} of the evaluation"
        normalised = normalise(text)
        if found := self._texts.get(normalised):
            return "leak-normalised", f"asks, but for case, punctuation and spacing, what record {found[0]} asks"
        near = self._near.nearest(normalised)
        if near is None:
            return None
        record_id, other = self._by_place[near.place]
        more = f", and like {near.others} more" if near.others else ""
        return (
            "leak-near",
            f"nearly record {record_id}, '{excerpt_of_text(other)}' (similarity {near.similarity:.2f}){more}",
        )


class DatasetIsEvaluated:
    """What is to be said where a file that is trained on is also the one to evaluate; rows need not be compared."""

    rules: tuple[str, ...] = ("leak",)

    def __init__(self, key: str, path: Path) -> None:
        self._key, self._path = key, path

    def rows(self, batch: Sequence[CheckedRow]) -> Iterable[Found]:
        """Nothing."""
        return ()

    def finish(self) -> Iterable[Found]:
        """That the evaluation shows only what was learned by heart."""
        what = f"evaluation.{self._key} is a file of the dataset ({self._path.name}): all its records are trained on"
        return (Found("leak", f"{what}; name another, or hold rows out with data.validation_split"),)

    def statistics(self) -> Mapping[str, Any]:
        """None."""
        return {}


def _whole(prompt: Prompt) -> ComparedPrompt:
    return ComparedPrompt(prompt_text(prompt))


def _named(record_ids: Sequence[str]) -> str:
    more = f" and {len(record_ids) - 1} more" if len(record_ids) > 1 else ""
    return f"record {record_ids[0]}{more}"
