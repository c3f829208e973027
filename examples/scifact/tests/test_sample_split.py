"""What is evaluated was not trained on: neither the claim, nor a document it cites."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]


def test_no_held_out_claim_is_trained_on(rows: list[Row], heldout_claims: list[Row]) -> None:
    trained = {row["metadata"]["claim_id"] for row in rows}
    assert [claim["id"] for claim in heldout_claims if claim["id"] in trained] == []


def test_no_held_out_claim_is_stated_in_training(rows: list[Row], heldout_claims: list[Row]) -> None:
    text = "\n".join(row["prompt"] + row["completion"] for row in rows).casefold()
    assert [claim["id"] for claim in heldout_claims if claim["claim"].strip().rstrip(".").casefold() in text] == []


def test_no_held_out_document_is_trained_on(rows: list[Row], heldout_claims: list[Row]) -> None:
    trained = {doc_id for row in rows for doc_id in row["metadata"]["doc_ids"]}
    assert [claim["id"] for claim in heldout_claims if trained & set(claim["cited_doc_ids"])] == []


def test_no_held_out_sentence_is_read_in_training(
    rows: list[Row], heldout_claims: list[Row], sentences: dict[int, set[str]]
) -> None:
    text = "\n".join(row["prompt"] for row in rows)
    seen = [
        claim["id"]
        for claim in heldout_claims
        for doc_id in claim["cited_doc_ids"]
        if any(len(sentence) > 40 and sentence in text for sentence in sentences[doc_id])
    ]
    assert seen == []


def test_every_held_out_document_is_at_hand(heldout_claims: list[Row], sentences: dict[int, set[str]]) -> None:
    missing = [claim["id"] for claim in heldout_claims if not sentences.keys() >= set(claim["cited_doc_ids"])]
    assert missing == []


def test_the_held_out_claims_cover_every_answer(heldout_claims: list[Row]) -> None:
    answers = {part["label"] for claim in heldout_claims for group in claim["evidence"].values() for part in group} | {
        "NONE" for claim in heldout_claims if not claim["evidence"]
    }
    assert answers == {"SUPPORT", "CONTRADICT", "NONE"}
