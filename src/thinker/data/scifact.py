"""Reading SciFact: claims with their gold evidence, and the documents they cite.

Format: Wadden et al., "Fact or Fiction: Verifying Scientific Claims", EMNLP 2020 (`allenai/scifact`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from thinker.claim_schema import RelationKind
from thinker.data.dataset_files import iter_rows
from thinker.data.jsonl import json_type
from thinker.errors import DataError

Label = Literal["SUPPORT", "CONTRADICT"]
RELATION_OF: Final[dict[Label, RelationKind]] = {"SUPPORT": "supports", "CONTRADICT": "refutes"}


@dataclass(frozen=True)
class EvidenceGroup:
    """What one document says to a claim.

    Attributes:
        label: whether it supports or contradicts the claim.
        rationales: sets of sentence indices, each enough by itself to decide.
    """

    label: Label
    rationales: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ScifactClaim:
    """A claim with its gold evidence.

    Attributes:
        id: SciFact's own, unique in a file.
        claim: on one line, without whitespace at its ends.
        evidence: document id -> what the document says; empty where no cited document decides the claim.
        cited_doc_ids: without repetition, in file order.
        line: where it stands in its file.
    """

    id: int
    claim: str
    evidence: Mapping[int, EvidenceGroup]
    cited_doc_ids: tuple[int, ...]
    line: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Document:
    """An abstract. `sentences` keep their indices, blank ones included; each is on one line, stripped."""

    doc_id: int
    title: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class EvidenceSentence:
    """A gold evidence sentence and what it says to the claim."""

    doc_id: int
    index: int
    text: str
    relation: RelationKind


class Corpus:
    """The documents of a corpus file that are needed, by id. No others are held in memory."""

    def __init__(self, documents: Mapping[int, Document]) -> None:
        self._documents = dict(documents)

    @classmethod
    def load(cls, path: Path, doc_ids: Collection[int]) -> Corpus:
        """Stream `path` and keep the documents `doc_ids`; those that are not there are simply absent.

        Raises:
            DataError: a row is malformed or a needed document is there twice; names file and line.
        """
        needed = frozenset(doc_ids)
        documents: dict[int, Document] = {}
        for place, row in _rows(path):
            doc_id = place.integer(row.get("doc_id"), "doc_id")
            if doc_id not in needed:
                continue
            if doc_id in documents:
                raise place.error(f"document {doc_id} is there twice; remove one of the rows")
            documents[doc_id] = _document(doc_id, row, place)
        return cls(documents)

    def __contains__(self, doc_id: int) -> bool:
        return doc_id in self._documents

    def __getitem__(self, doc_id: int) -> Document:
        return self._documents[doc_id]

    def __len__(self) -> int:
        return len(self._documents)


def load_claims(path: Path) -> list[ScifactClaim]:
    """The claims of `path`, in file order.

    Raises:
        DataError: no claims, no gold labels (SciFact's test file), or a malformed row; names file and line.
    """
    claims: dict[int, ScifactClaim] = {}
    for place, row in _rows(path):
        claim = _claim(row, place)
        if claim.id in claims:
            raise place.error(f"claim id {claim.id} is also on line {claims[claim.id].line}; an id names one claim")
        claims[claim.id] = claim
    if not claims:
        raise DataError(f"{path}: no claims in it")
    return list(claims.values())


def load_scifact(claims_path: Path, corpus_path: Path) -> tuple[list[ScifactClaim], Corpus]:
    """Claims and the documents they cite, checked against each other.

    Raises:
        DataError: as `load_claims` and `Corpus.load`; or a cited document is not in the corpus; or a rationale names a
            sentence that its document does not have, or a blank one.
    """
    claims = load_claims(claims_path)
    corpus = Corpus.load(corpus_path, {doc_id for claim in claims for doc_id in claim.cited_doc_ids})
    for claim in claims:
        place = _Place(claims_path, claim.line)
        for doc_id in claim.cited_doc_ids:
            if doc_id not in corpus:
                raise place.error(
                    f"claim {claim.id} cites document {doc_id}, which is not in {corpus_path}; "
                    "give the corpus that belongs to these claims"
                )
        for doc_id, index in _rationale_sentences(claim):
            sentences = corpus[doc_id].sentences
            if index >= len(sentences) or not sentences[index]:
                what = "is blank" if index < len(sentences) else f"is not there (it has {len(sentences)})"
                raise place.error(
                    f"evidence of claim {claim.id}: sentence {index} of document {doc_id} {what}; "
                    "indices count from 0 in the corpus's `abstract`"
                )
    return claims, corpus


def evidence_sentences(claim: ScifactClaim, corpus: Corpus) -> tuple[EvidenceSentence, ...]:
    """The sentences of all rationales of `claim`, in the order of its cited documents, then of their sentences.

    A sentence is there once, also where several rationales share it or its document repeats its text.
    """
    found: dict[tuple[int, str], EvidenceSentence] = {}
    for doc_id, index in _rationale_sentences(claim):
        text = corpus[doc_id].sentences[index]
        relation = RELATION_OF[claim.evidence[doc_id].label]
        found.setdefault((doc_id, text), EvidenceSentence(doc_id, index, text, relation))
    return tuple(found.values())


def _rationale_sentences(claim: ScifactClaim) -> Iterator[tuple[int, int]]:
    """(document, sentence index) of the union of the rationales, in order."""
    for doc_id in claim.cited_doc_ids:
        if group := claim.evidence.get(doc_id):
            for index in sorted({index for rationale in group.rationales for index in rationale}):
                yield doc_id, index


@dataclass(frozen=True)
class _Place:
    """A row's place, for errors that name it."""

    path: Path
    line: int

    def error(self, message: str) -> DataError:
        return DataError(f"{self.path}:{self.line}: {message}")

    def integer(self, value: object, name: str) -> int:
        """`value`, if it can be an id or an index."""
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**18:
            raise self.error(f"`{name}` must be an integer from 0, got {_shown(value)}")
        return value

    def text(self, value: object, name: str) -> str:
        """`value`, if it is a string; stripped, each line break in it a space, as a CLAIM line is one line."""
        if not isinstance(value, str):
            raise self.error(f"`{name}` must be a string, got {_shown(value)}")
        return " ".join(part.strip() for part in re.split(r"[\r\n]+", value) if part.strip())

    def list(self, value: object, name: str, of: str) -> list[Any]:
        """`value`, if it is a list."""
        if not isinstance(value, list):
            raise self.error(f"`{name}` must be a list of {of}, got {_shown(value)}")
        return value


def _shown(value: object) -> str:
    """What stands in a file, in few words."""
    if isinstance(value, str):
        return f"'{value[:40]}'"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
        return str(value)
    return "nothing" if value is None else f"type {json_type(value)}"


def _rows(path: Path) -> Iterator[tuple[_Place, dict[str, Any]]]:
    return ((_Place(path, row.line), row.value) for row in iter_rows(path))


def _document(doc_id: int, row: Mapping[str, Any], place: _Place) -> Document:
    abstract = place.list(row.get("abstract"), "abstract", "sentences")
    sentences = tuple(place.text(each, f"abstract[{index}]") for index, each in enumerate(abstract))
    return Document(doc_id, place.text(row.get("title"), "title"), sentences)


def _claim(row: Mapping[str, Any], place: _Place) -> ScifactClaim:
    claim_id = place.integer(row.get("id"), "id")
    text = place.text(row.get("claim"), "claim")
    if not text:
        raise place.error("`claim` is blank")
    if "evidence" not in row:
        raise place.error(
            "no `evidence`: claims without gold labels (SciFact's test file) can neither be learned from nor scored; "
            "use the train or dev claims"
        )
    cited = place.list(row.get("cited_doc_ids"), "cited_doc_ids", "document ids")
    cited_doc_ids = tuple(dict.fromkeys(place.integer(each, "cited_doc_ids") for each in cited))
    evidence = _evidence(row["evidence"], place)
    for doc_id in evidence:
        if doc_id not in cited_doc_ids:
            raise place.error(f"evidence is in document {doc_id}, which `cited_doc_ids` does not name; add it there")
    return ScifactClaim(claim_id, text, evidence, cited_doc_ids, place.line)


def _evidence(value: object, place: _Place) -> dict[int, EvidenceGroup]:
    if not isinstance(value, dict):
        raise place.error(f"`evidence` must be an object of document ids, got {_shown(value)}")
    groups: dict[int, EvidenceGroup] = {}
    for key, rationales in value.items():
        if not re.fullmatch("0|[1-9][0-9]{0,17}", key):
            raise place.error(f"`evidence` has the key {_shown(key)}, which is not a document id")
        groups[int(key)] = _evidence_group(rationales, f"evidence.{key}", place)
    return groups


def _evidence_group(value: object, name: str, place: _Place) -> EvidenceGroup:
    labels: list[Label] = []
    rationales: list[tuple[int, ...]] = []
    for number, rationale in enumerate(place.list(value, name, "rationales")):
        if not isinstance(rationale, dict):
            raise place.error(f"`{name}[{number}]` must be an object, got {_shown(rationale)}")
        label, field_name = rationale.get("label"), f"{name}[{number}].sentences"
        if label != "SUPPORT" and label != "CONTRADICT":
            raise place.error(f"`{name}[{number}].label` must be SUPPORT or CONTRADICT, got {_shown(label)}")
        sentences = place.list(rationale.get("sentences"), field_name, "sentence indices")
        if not sentences:
            raise place.error(f"`{field_name}` is empty; a rationale names at least one sentence")
        labels.append(label)
        rationales.append(tuple(place.integer(each, field_name) for each in sentences))
    if not labels:
        raise place.error(f"`{name}` is empty; leave a document without evidence out")
    if len(set(labels)) > 1:
        raise place.error(f"`{name}` has both labels; a document either supports or contradicts a claim")
    return EvidenceGroup(labels[0], tuple(rationales))
