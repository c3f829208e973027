"""Each row to train on says what SciFact says. A test names the claims that break it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from thinker.claim_schema import ClaimSet, parse

KIND = {"SUPPORT": "supports", "CONTRADICT": "refutes"}

Row = dict[str, Any]


def learned(row: Row) -> ClaimSet:
    """What the row teaches."""
    return parse(row["completion"])


def claim_ids(rows: list[Row]) -> list[int]:
    return [row["metadata"]["claim_id"] for row in rows]


def test_every_claim_is_there_once(rows: list[Row], claims: dict[int, Row]) -> None:
    assert sorted(claim_ids(rows)) == sorted(claims)


def test_every_completion_is_well_formed(rows: list[Row]) -> None:
    assert claim_ids([row for row in rows if not learned(row).well_formed]) == []


def test_c1_is_the_claim_word_for_word(rows: list[Row], claims: dict[int, Row]) -> None:
    changed = [row for row in rows if learned(row).hypothesis != claims[row["metadata"]["claim_id"]]["claim"].strip()]
    assert claim_ids(changed) == []


def test_the_prompt_states_the_claim(rows: list[Row]) -> None:
    assert claim_ids([row for row in rows if (learned(row).hypothesis or "?") not in row["prompt"]]) == []


def test_evidence_is_word_for_word_in_the_document_it_cites(rows: list[Row], sentences: dict[int, set[str]]) -> None:
    invented = [
        row
        for row in rows
        for line in learned(row).evidence
        if line.doc_id not in sentences or line.text not in sentences[line.doc_id]
    ]
    assert claim_ids(invented) == []


def test_evidence_can_be_read_in_the_prompt(rows: list[Row]) -> None:
    hidden = [
        row
        for row in rows
        for line in learned(row).evidence
        if line.text not in row["prompt"] or str(line.doc_id) not in row["prompt"]
    ]
    assert claim_ids(hidden) == []


def test_evidence_is_all_that_the_annotators_marked(rows: list[Row], claims: dict[int, Row]) -> None:
    def marked(claim: Row) -> int:
        groups = claim["evidence"].items()
        return len({(doc_id, index) for doc_id, group in groups for part in group for index in part["sentences"]})

    other = [row for row in rows if len(learned(row).evidence) != marked(claims[row["metadata"]["claim_id"]])]
    assert claim_ids(other) == []


def test_relations_are_the_annotators(rows: list[Row], claims: dict[int, Row]) -> None:
    def label(claim: Row) -> set[str]:
        return {KIND[part["label"]] for group in claim["evidence"].values() for part in group}

    other = [
        row
        for row in rows
        if {relation.kind for relation in learned(row).relations} != label(claims[row["metadata"]["claim_id"]])
    ]
    assert claim_ids(other) == []


def test_every_evidence_line_has_one_relation_to_c1(rows: list[Row]) -> None:
    loose = [
        row
        for row in rows
        if [(relation.source, relation.target) for relation in learned(row).relations]
        != [(line.id, "c1") for line in learned(row).evidence]
    ]
    assert claim_ids(loose) == []


def test_no_label_is_rare(rows: list[Row]) -> None:
    """A model that never sees a label cannot learn it."""
    seen = Counter(next((relation.kind for relation in learned(row).relations), "none") for row in rows)
    assert min(seen[label] for label in ("supports", "refutes", "none")) >= 0.2 * len(rows)


def test_rows_are_short(rows: list[Row]) -> None:
    """A token has more than 2.5 characters on average, so that these fit the recipe's max_seq_length of 1,024."""
    assert claim_ids([row for row in rows if len(row["prompt"]) + len(row["completion"]) > 2500]) == []
