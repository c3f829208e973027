from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thinker.data.scifact import (
    Corpus,
    Document,
    EvidenceGroup,
    EvidenceSentence,
    ScifactClaim,
    evidence_sentences,
    load_claims,
    load_scifact,
)
from thinker.errors import DataError

CORPUS = [
    {"doc_id": 7, "title": " Ice ", "abstract": [" Ice is cold. ", "", "Ice\nfloats."]},
    {"doc_id": 8, "title": "Fire", "abstract": ["Fire is hot."]},
    {"doc_id": 9, "title": "Steam", "abstract": ["Steam rises."]},
]
SUPPORT_7 = [{"sentences": [2, 0], "label": "SUPPORT"}, {"sentences": [0], "label": "SUPPORT"}]
CLAIM = {"id": 1, "claim": " Ice is warm. ", "evidence": {"7": SUPPORT_7}, "cited_doc_ids": [8, 7, 8]}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def corpus_file(tmp_path: Path) -> Path:
    return write(tmp_path / "corpus.jsonl", *CORPUS)


def claims_file(tmp_path: Path, *rows: object) -> Path:
    return write(tmp_path / "claims.jsonl", *rows)


def refusal(tmp_path: Path, row: object) -> str:
    """What `load_claims` says of a file whose second line is `row`."""
    path = claims_file(tmp_path, CLAIM | {"id": 100}, row)
    with pytest.raises(DataError) as caught:
        load_claims(path)
    place, _, message = str(caught.value).partition(": ")
    assert place == f"{path}:2"
    return message


def test_a_claim_is_read_stripped_with_its_citations_once_each(tmp_path: Path) -> None:
    (claim,) = load_claims(claims_file(tmp_path, CLAIM))
    assert claim == ScifactClaim(
        id=1,
        claim="Ice is warm.",
        evidence={7: EvidenceGroup("SUPPORT", ((2, 0), (0,)))},
        cited_doc_ids=(8, 7),
    )
    assert claim.line == 1


def test_line_breaks_in_a_claim_become_spaces(tmp_path: Path) -> None:
    (claim,) = load_claims(claims_file(tmp_path, CLAIM | {"claim": "Ice \r\n\n is\twarm."}))
    assert claim.claim == "Ice is\twarm."


def test_the_corpus_keeps_needed_documents_only_with_blank_sentences_in_place(corpus_file: Path) -> None:
    corpus = Corpus.load(corpus_file, {7, 404})
    assert len(corpus) == 1
    assert corpus[7] == Document(7, "Ice", ("Ice is cold.", "", "Ice floats."))
    assert 8 not in corpus
    assert 404 not in corpus


def test_rows_of_documents_that_are_not_needed_need_only_an_id(tmp_path: Path) -> None:
    path = write(tmp_path / "corpus.jsonl", {"doc_id": 5}, *CORPUS, {"doc_id": 5})
    assert len(Corpus.load(path, {7})) == 1


def test_evidence_is_the_union_of_rationales_in_order_of_citation_then_sentence(
    tmp_path: Path, corpus_file: Path
) -> None:
    refuted_8 = [{"sentences": [0], "label": "CONTRADICT"}]
    path = claims_file(tmp_path, CLAIM | {"evidence": {"7": SUPPORT_7, "8": refuted_8}})
    (claim,), corpus = load_scifact(path, corpus_file)
    assert evidence_sentences(claim, corpus) == (
        EvidenceSentence(8, 0, "Fire is hot.", "refutes"),
        EvidenceSentence(7, 0, "Ice is cold.", "supports"),
        EvidenceSentence(7, 2, "Ice floats.", "supports"),
    )


def test_evidence_sentences_stand_in_the_order_of_their_indices(tmp_path: Path) -> None:
    abstract = [f"Sentence {index}." for index in range(20)]
    corpus_file = write(tmp_path / "corpus.jsonl", {"doc_id": 7, "title": "", "abstract": abstract})
    evidence = {"7": [{"sentences": [16, 1], "label": "SUPPORT"}, {"sentences": [8], "label": "SUPPORT"}]}
    (claim,), corpus = load_scifact(
        claims_file(tmp_path, CLAIM | {"evidence": evidence, "cited_doc_ids": [7]}), corpus_file
    )
    assert [sentence.index for sentence in evidence_sentences(claim, corpus)] == [1, 8, 16]


def test_a_sentence_that_its_document_repeats_is_evidence_once(tmp_path: Path) -> None:
    corpus_file = write(tmp_path / "corpus.jsonl", {"doc_id": 7, "title": "", "abstract": ["Ice.", "Snow.", " Ice."]})
    evidence = {"7": [{"sentences": [0, 2], "label": "SUPPORT"}]}
    (claim,), corpus = load_scifact(
        claims_file(tmp_path, CLAIM | {"evidence": evidence, "cited_doc_ids": [7]}), corpus_file
    )
    assert evidence_sentences(claim, corpus) == (EvidenceSentence(7, 0, "Ice.", "supports"),)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "1"}, "`id` must be an integer from 0, got '1'"),
        ({"id": True}, "`id` must be an integer from 0, got type boolean"),
        ({"id": None}, "`id` must be an integer from 0, got nothing"),
        ({"claim": 3}, "`claim` must be a string, got 3"),
        ({"claim": " \n"}, "`claim` is blank"),
        ({"cited_doc_ids": None}, "`cited_doc_ids` must be a list of document ids, got nothing"),
        ({"cited_doc_ids": ["8"]}, "`cited_doc_ids` must be an integer from 0, got '8'"),
        ({"cited_doc_ids": [8]}, "evidence is in document 7, which `cited_doc_ids` does not name; add it there"),
        ({"evidence": []}, "`evidence` must be an object of document ids, got type array"),
        ({"evidence": {"x": []}}, "`evidence` has the key 'x', which is not a document id"),
        ({"evidence": {"7": {}}}, "`evidence.7` must be a list of rationales, got type object"),
        ({"evidence": {"7": []}}, "`evidence.7` is empty; leave a document without evidence out"),
        ({"evidence": {"7": ["x"]}}, "`evidence.7[0]` must be an object, got 'x'"),
        (
            {"evidence": {"7": [{"sentences": [0], "label": "NEI"}]}},
            "`evidence.7[0].label` must be SUPPORT or CONTRADICT, got 'NEI'",
        ),
        (
            {"evidence": {"7": [*SUPPORT_7, {"sentences": [0], "label": "CONTRADICT"}]}},
            "`evidence.7` has both labels; a document either supports or contradicts a claim",
        ),
        (
            {"evidence": {"7": [{"sentences": [], "label": "SUPPORT"}]}},
            "`evidence.7[0].sentences` is empty; a rationale names at least one sentence",
        ),
        (
            {"evidence": {"7": [{"sentences": [-1], "label": "SUPPORT"}]}},
            "`evidence.7[0].sentences` must be an integer from 0, got -1",
        ),
    ],
)
def test_a_malformed_claim_is_refused_with_its_place(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    assert refusal(tmp_path, CLAIM | change) == message


def test_an_id_of_thousands_of_digits_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "claims.jsonl"
    path.write_text(json.dumps(CLAIM | {"id": "N"}).replace('"N"', "9" * 5000), encoding="utf-8")
    with pytest.raises(DataError, match=":1: `id` must be an integer from 0, got type integer"):
        load_claims(path)


def test_claims_without_gold_labels_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, {"id": 1, "claim": "Ice is warm."}).startswith("no `evidence`: claims without gold labels")


def test_a_claim_id_twice_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, CLAIM | {"id": 100}) == "claim id 100 is also on line 1; an id names one claim"


def test_invalid_json_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "claims.jsonl"
    path.write_text("{\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"claims\.jsonl:1: "):
        load_claims(path)


def test_a_file_without_claims_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no claims in it"):
        load_claims(claims_file(tmp_path))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"claims\.jsonl"):
        load_claims(tmp_path / "claims.jsonl")


def test_a_cited_document_that_the_corpus_lacks_is_refused(tmp_path: Path, corpus_file: Path) -> None:
    path = claims_file(tmp_path, CLAIM, CLAIM | {"id": 2, "cited_doc_ids": [7, 404]})
    with pytest.raises(DataError) as caught:
        load_scifact(path, corpus_file)
    assert str(caught.value).startswith(f"{path}:2: claim 2 cites document 404, which is not in {corpus_file}; ")


@pytest.mark.parametrize(("index", "what"), [(3, r"is not there \(it has 3\)"), (1, "is blank")])
def test_a_rationale_that_names_no_sentence_is_refused(
    tmp_path: Path, corpus_file: Path, index: int, what: str
) -> None:
    path = claims_file(tmp_path, CLAIM | {"evidence": {"7": [{"sentences": [index], "label": "SUPPORT"}]}})
    with pytest.raises(DataError, match=rf":1: evidence of claim 1: sentence {index} of document 7 {what}; "):
        load_scifact(path, corpus_file)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"doc_id": "7"}, "`doc_id` must be an integer from 0, got '7'"),
        ({"title": "no id"}, "`doc_id` must be an integer from 0, got nothing"),
        (CORPUS[0], "document 7 is there twice; remove one of the rows"),
        ({"doc_id": 8, "title": "x", "abstract": "y"}, "`abstract` must be a list of sentences, got 'y'"),
        ({"doc_id": 8, "title": "x", "abstract": [1]}, "`abstract[0]` must be a string, got 1"),
        ({"doc_id": 8, "abstract": []}, "`title` must be a string, got nothing"),
    ],
)
def test_a_malformed_document_is_refused_with_its_place(tmp_path: Path, row: object, message: str) -> None:
    path = write(tmp_path / "corpus.jsonl", CORPUS[0], row)
    with pytest.raises(DataError) as caught:
        Corpus.load(path, {7, 8})
    assert str(caught.value) == f"{path}:2: {message}"
