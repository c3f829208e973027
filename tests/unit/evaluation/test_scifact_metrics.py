from __future__ import annotations

import json
from typing import Any

import pytest

from thinker.claim_schema import parse
from thinker.evaluation.scifact_metrics import Judgement, ScifactGold, judge, score
from thinker.tasks.base import Scores

DOCUMENTS = {7: frozenset({"Ice is cold.", "Ice floats.", "Snow falls."}), 8: frozenset({"Fire is hot."})}
SUPPORTED = ScifactGold(1, "Ice is light.", frozenset({(7, "Ice floats."), (7, "Ice is cold.")}), "supports", DOCUMENTS)
REFUTED = ScifactGold(2, "Fire is cold.", frozenset({(8, "Fire is hot.")}), "refutes", DOCUMENTS)
UNDECIDED = ScifactGold(3, "Steam is red.", frozenset(), "none", DOCUMENTS)

GOLD_COMPLETION = {
    1: "CLAIM[c1]: Ice is light.\n"
    "CLAIM[c2] (Document 7): Ice is cold.\nRELATION: c2 supports c1\n"
    "CLAIM[c3] (Document 7): Ice floats.\nRELATION: c3 supports c1",
    2: "CLAIM[c1]: Fire is cold.\nCLAIM[c2] (Document 8): Fire is hot.\nRELATION: c2 refutes c1",
    3: "CLAIM[c1]: Steam is red.",
}


def on(gold: ScifactGold, completion: str) -> Judgement:
    return judge(gold, parse(completion))


def evidence(gold: ScifactGold, *lines: str) -> Judgement:
    """`gold` answered with a right c1 and evidence lines, each given from its document reference on."""
    numbered = (f"CLAIM[c{number}]{line}" for number, line in enumerate(lines, start=2))
    return on(gold, "\n".join((f"CLAIM[c1]: {gold.claim}", *numbered)))


def scores(*judgements: Judgement) -> Scores:
    return score(judgements)


def metric(name: str, *judgements: Judgement) -> Any:
    return score(judgements).metrics[name]


def test_gold_completions_are_perfect_on_every_metric() -> None:
    result = scores(*(on(gold, GOLD_COMPLETION[gold.claim_id]) for gold in (SUPPORTED, REFUTED, UNDECIDED)))
    assert result.metrics == {
        "total": 3,
        "c1_exact_match": 3,
        "c1_exact_match_rate": 1.0,
        "evidence_semantic_match": [1.0, 1.0],
        "evidence_semantic_match_avg": 1.0,
        "evidence_precision": 1.0,
        "evidence_recall": 1.0,
        "evidence_f1": 1.0,
        "relation_accuracy": 1.0,
        "verdict_accuracy": 1.0,
        "schema_valid_rate": 1.0,
        "citation_valid_rate": 1.0,
        "hallucinated_citations": 0,
        "grounded_rate": 1.0,
        "abstention_rate": 1.0,
    }
    assert result.confusion == {
        "supports": {"supports": 1, "refutes": 0, "none": 0},
        "refutes": {"supports": 0, "refutes": 1, "none": 0},
        "none": {"supports": 0, "refutes": 0, "none": 1},
    }


def test_over_no_claims_counts_are_zero_and_rates_undefined() -> None:
    metrics = scores().metrics
    assert {name for name, value in metrics.items() if value is None} == {
        *("c1_exact_match_rate", "evidence_semantic_match_avg", "evidence_precision", "evidence_recall", "evidence_f1"),
        *("relation_accuracy", "verdict_accuracy", "schema_valid_rate", "citation_valid_rate", "grounded_rate"),
        "abstention_rate",
    }
    assert metrics["total"] == metrics["c1_exact_match"] == metrics["hallucinated_citations"] == 0
    assert metrics["evidence_semantic_match"] == []


@pytest.mark.parametrize(
    ("completion", "match"),
    [
        ("CLAIM[c1]: Ice is light.", 1),
        ("claim c1 :   Ice is light.  ", 1),
        ("CLAIM[c1]: Ice is light", 0),
        ("CLAIM[c1]: ice is light.", 0),
        ("CLAIM[c2]: Ice is light.", 0),
        ("CLAIM[c1]: Ice is heavy.\nCLAIM[c1]: Ice is light.", 0),
        ("", 0),
    ],
)
def test_c1_matches_if_its_first_line_is_the_claim_after_strip(completion: str, match: int) -> None:
    assert metric("c1_exact_match", on(SUPPORTED, completion)) == match
    assert metric("c1_exact_match_rate", on(SUPPORTED, completion), on(UNDECIDED, "CLAIM[c1]: x")) == match / 2


def test_evidence_semantic_match_is_over_predicted_lines_of_claims_with_gold_evidence() -> None:
    half = evidence(SUPPORTED, " (Document 7): Ice floats.", " (Document 7): Snow falls.")
    silent = evidence(REFUTED)
    outside = evidence(UNDECIDED, " (Document 7): Ice floats.")
    assert metric("evidence_semantic_match", half, outside, silent) == [0.5, 0.0]
    assert metric("evidence_semantic_match_avg", half, outside, silent) == 0.25


def test_evidence_semantic_match_ignores_documents() -> None:
    judged = evidence(SUPPORTED, " (Document 8): Ice floats.", ": Ice is cold.")
    assert metric("evidence_semantic_match", judged) == [1.0]


def test_evidence_precision_and_recall_are_micro_averages_by_document_and_sentence() -> None:
    judged = (
        evidence(SUPPORTED, " (Document 7): Ice floats.", " (Document 7): Snow falls."),
        evidence(REFUTED),
        evidence(UNDECIDED, " (Document 8): Fire is hot."),
    )
    assert metric("evidence_precision", *judged) == pytest.approx(1 / 3)
    assert metric("evidence_recall", *judged) == pytest.approx(1 / 3)
    assert metric("evidence_f1", *judged) == pytest.approx(1 / 3)


def test_f1_is_the_harmonic_mean_of_precision_and_recall() -> None:
    judged = evidence(SUPPORTED, " (Document 7): Ice floats.")
    assert metric("evidence_precision", judged) == 1
    assert metric("evidence_recall", judged) == 0.5
    assert metric("evidence_f1", judged) == pytest.approx(2 / 3)


def test_f1_is_zero_and_precision_undefined_where_gold_evidence_goes_unanswered() -> None:
    judged = evidence(SUPPORTED)
    assert metric("evidence_precision", judged) is None
    assert metric("evidence_recall", judged) == 0
    assert metric("evidence_f1", judged) == 0


@pytest.mark.parametrize("line", [" (Document 8): Ice floats.", ": Ice floats.", " (Document 404): Ice floats."])
def test_a_gold_sentence_cited_from_elsewhere_or_from_nowhere_is_no_correct_evidence(line: str) -> None:
    judged = evidence(SUPPORTED, line)
    assert metric("evidence_precision", judged) == 0
    assert metric("evidence_recall", judged) == 0
    assert metric("grounded_rate", judged) == 0


def test_a_line_repeated_under_other_ids_counts_once() -> None:
    judged = evidence(SUPPORTED, *[" (Document 7): Ice floats."] * 3, *[" (Document 404): Snow."] * 2)
    assert metric("evidence_semantic_match", judged) == [0.5]
    assert metric("evidence_precision", judged) == 0.5
    assert metric("citation_valid_rate", judged) == 0.5
    assert metric("hallucinated_citations", judged) == 1
    assert metric("grounded_rate", judged) == 0.5


@pytest.mark.parametrize(
    ("relations", "verdict"),
    [
        (["c2 supports c1"], "supports"),
        (["c2 refutes c1"], "refutes"),
        (["c2 contrasts c1"], "refutes"),
        (["c2 supports c1", "c3 supports c1", "c4 refutes c1"], "supports"),
        (["c2 supports c1", "c3 refutes c1"], "none"),
        (["c2 supports c1", "c2 supports c1", "c3 refutes c1"], "none"),
        (["c1 supports c2"], "none"),
        (["c3 supports c2"], "none"),
        ([], "none"),
    ],
)
def test_the_verdict_is_the_majority_of_distinct_relations_to_c1(relations: list[str], verdict: str) -> None:
    completion = "\n".join(["CLAIM[c1]: x", *(f"RELATION: {relation}" for relation in relations)])
    assert on(SUPPORTED, completion).verdict == verdict


def test_relation_accuracy_is_over_claims_with_gold_evidence() -> None:
    supports = "CLAIM[c1]: x\nRELATION: c2 supports c1"
    assert metric("relation_accuracy", on(SUPPORTED, supports), on(REFUTED, supports), on(UNDECIDED, "")) == 0.5


def test_no_relation_is_right_for_a_claim_whose_gold_evidence_ties() -> None:
    tied = ScifactGold(4, "x", frozenset({(7, "Ice floats."), (8, "Fire is hot.")}), "none", DOCUMENTS)
    assert metric("relation_accuracy", on(tied, "CLAIM[c1]: x")) == 0
    assert metric("verdict_accuracy", on(tied, "CLAIM[c1]: x")) == 1


def test_verdict_accuracy_and_confusion_are_over_all_claims() -> None:
    supports = "CLAIM[c1]: x\nRELATION: c2 supports c1"
    result = scores(on(SUPPORTED, supports), on(REFUTED, supports), on(UNDECIDED, ""), on(REFUTED, ""))
    assert result.metrics["verdict_accuracy"] == 0.5
    assert result.confusion == {
        "supports": {"supports": 1, "refutes": 0, "none": 0},
        "refutes": {"supports": 1, "refutes": 0, "none": 1},
        "none": {"supports": 0, "refutes": 0, "none": 1},
    }


@pytest.mark.parametrize(
    "completion",
    ["", "claim[c1]: x", "CLAIM[c1]: x\nIt is so.", "CLAIM[c1]: x\nCLAIM[c2]: y", "CLAIM[c2] (Document 7): y"],
)
def test_schema_valid_means_nothing_forgiven_and_nothing_unparsed(completion: str) -> None:
    assert metric("schema_valid_rate", on(SUPPORTED, completion), on(SUPPORTED, "CLAIM[c1]: x")) == 0.5


def test_citations_are_valid_if_the_document_is_in_the_prompt() -> None:
    judged = (
        evidence(SUPPORTED, " (Document 7): invented", " (Document 404): x", ": y", " (Smith 2020): z"),
        evidence(REFUTED, " (Document 8): Fire is hot."),
    )
    assert metric("citation_valid_rate", *judged) == pytest.approx(2 / 5)
    assert metric("hallucinated_citations", *judged) == 3


def test_grounded_lines_are_sentences_of_the_document_they_cite() -> None:
    judged = evidence(
        SUPPORTED,
        " (Document 7): Snow falls.",
        " (Document 7): Snow falls",
        " (Document 8): Snow falls.",
        " (Document 404): Snow falls.",
    )
    assert metric("grounded_rate", judged) == 0.25


def test_abstention_is_no_evidence_line_for_a_claim_without_gold_evidence() -> None:
    judged = (evidence(UNDECIDED), evidence(UNDECIDED, ": x"), evidence(SUPPORTED))
    assert metric("abstention_rate", *judged) == 0.5
    assert metric("abstention_rate", evidence(SUPPORTED)) is None


def test_each_record_shows_its_judgement_as_plain_json() -> None:
    judged = on(SUPPORTED, "claim[c1]: Ice is light.\nCLAIM[c2] (Document 404): Ice floats.\nSo it is.")
    (shown,) = scores(judged).per_record
    assert json.loads(json.dumps(shown)) == {
        "claim_id": 1,
        "gold_verdict": "supports",
        "verdict": "none",
        "c1_match": True,
        "evidence_match": 1.0,
        "gold_evidence": 2,
        "evidence_lines": 1,
        "correct_evidence": 0,
        "hallucinated_citations": 1,
        "grounded_lines": 0,
        "well_formed": False,
        "forgiven": [{"line": 1, "what": "case"}],
        "unparsed": ["So it is."],
    }
