from __future__ import annotations

import json
from pathlib import Path

import pytest

from thinker.claim_schema import render
from thinker.config.pipeline_models import EvaluationConfig
from thinker.data.scifact import Corpus, Document, EvidenceGroup, ScifactClaim
from thinker.errors import DataError
from thinker.evaluation.scifact_metrics import ScifactGold
from thinker.plugins import resolve
from thinker.tasks.base import Example, LossWeights, Prediction, Task, WeightSpan
from thinker.tasks.scifact_claims import ScifactClaims, build_completion, build_gold, build_prompt

CORPUS = Corpus(
    {
        7: Document(7, "Ice", ("Ice is cold.", "", "Ice floats.")),
        8: Document(8, "Fire", ("Fire is hot.",)),
    }
)
CLAIM = ScifactClaim(
    1,
    "Ice is light.",
    {7: EvidenceGroup("CONTRADICT", ((2,), (0, 2))), 8: EvidenceGroup("SUPPORT", ((0,),))},
    (8, 7),
)
COMPLETION = """\
CLAIM[c1]: Ice is light.
CLAIM[c2] (Document 8): Fire is hot.
RELATION: c2 supports c1
CLAIM[c3] (Document 7): Ice is cold.
RELATION: c3 refutes c1
CLAIM[c4] (Document 7): Ice floats.
RELATION: c4 refutes c1"""


def test_the_registry_has_the_task() -> None:
    task: Task = resolve("tasks", "scifact_claims")()
    assert task.name == "scifact_claims"
    assert task.required_inputs == ("claims_file", "corpus_file")


def test_the_prompt_is_instruction_cited_documents_hypothesis() -> None:
    assert build_prompt(CLAIM, CORPUS) == (
        "State the hypothesis, then every sentence of the documents that supports or refutes it, "
        "copied word for word:\n"
        "CLAIM[c1]: <hypothesis>\n"
        "CLAIM[c2] (Document <id>): <sentence>\n"
        "RELATION: c2 supports c1 | c2 refutes c1\n"
        "\n"
        "Document 8: Fire\n"
        "Fire is hot.\n"
        "\n"
        "Document 7: Ice\n"
        "Ice is cold.\n"
        "Ice floats.\n"
        "\n"
        "Hypothesis: Ice is light.\n"
    )


def test_the_prompt_does_not_depend_on_the_gold_evidence() -> None:
    unlabelled = ScifactClaim(CLAIM.id, CLAIM.claim, {}, CLAIM.cited_doc_ids)
    assert build_prompt(unlabelled, CORPUS) == build_prompt(CLAIM, CORPUS)


def test_the_completion_is_c1_then_evidence_and_relation_in_document_order() -> None:
    assert render(build_completion(CLAIM, CORPUS)) == COMPLETION


def test_a_claim_without_evidence_completes_with_c1_alone() -> None:
    claim = ScifactClaim(1, "Ice is light.", {}, (7,))
    assert render(build_completion(claim, CORPUS)) == "CLAIM[c1]: Ice is light."
    assert build_gold(claim, CORPUS).verdict == "none"


def test_the_gold_holds_evidence_verdict_and_the_prompts_documents() -> None:
    assert build_gold(CLAIM, CORPUS) == ScifactGold(
        claim_id=1,
        claim="Ice is light.",
        evidence=frozenset({(8, "Fire is hot."), (7, "Ice is cold."), (7, "Ice floats.")}),
        verdict="refutes",
        documents={7: frozenset({"Ice is cold.", "Ice floats."}), 8: frozenset({"Fire is hot."})},
    )


def test_an_example_is_the_rows_prompt_and_completion() -> None:
    row = {"prompt": "p", "completion": "c", "metadata": {}}
    assert ScifactClaims().example(row) == Example("p", "c")


@pytest.mark.parametrize(
    "row", [{}, {"prompt": "p"}, {"prompt": "p", "completion": 1}, {"prompt": [], "completion": "c"}]
)
def test_a_row_without_both_strings_is_no_example(row: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="`prompt` and `completion`, both strings"):
        ScifactClaims().example(row)


def weighted(claim_c1: float, evidence: float) -> list[tuple[str, float]]:
    spans = ScifactClaims().weight_spans(COMPLETION, LossWeights(claim_c1, evidence))
    return [(COMPLETION[span.start : span.end], span.weight) for span in spans]


def test_c1_and_evidence_lines_have_their_weights() -> None:
    assert weighted(5, 2) == [
        ("CLAIM[c1]: Ice is light.", 5),
        ("CLAIM[c2] (Document 8): Fire is hot.", 2),
        ("CLAIM[c3] (Document 7): Ice is cold.", 2),
        ("CLAIM[c4] (Document 7): Ice floats.", 2),
    ]


def test_a_weight_of_one_makes_no_span() -> None:
    assert weighted(1, 1) == []
    assert [weight for _, weight in weighted(5, 1)] == [5]
    assert [weight for _, weight in weighted(1, 0)] == [0, 0, 0]


def test_spans_come_in_order_where_c1_is_not_first() -> None:
    completion = "CLAIM[c2] (Document 7): y\nCLAIM[c1]: x"
    assert ScifactClaims().weight_spans(completion, LossWeights(5, 2)) == (WeightSpan(0, 25, 2), WeightSpan(26, 38, 5))


@pytest.fixture
def evaluation(tmp_path: Path) -> EvaluationConfig:
    rows = [
        {"id": 3, "claim": "Ice is light.", "evidence": {}, "cited_doc_ids": [7]},
        {
            "id": 1,
            "claim": "Fire is cold.",
            "evidence": {"8": [{"sentences": [0], "label": "CONTRADICT"}]},
            "cited_doc_ids": [8],
        },
    ]
    documents = [{"doc_id": id, "title": CORPUS[id].title, "abstract": list(CORPUS[id].sentences)} for id in (7, 8)]
    for name, lines in (("claims", rows), ("corpus", documents)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return EvaluationConfig(claims_file=tmp_path / "claims.jsonl", corpus_file=tmp_path / "corpus.jsonl")


def test_there_is_a_record_a_claim_in_file_order(evaluation: EvaluationConfig) -> None:
    records = ScifactClaims().records(evaluation, held_out=[{"prompt": "p", "completion": "c"}])
    assert [record.record_id for record in records] == ["3", "1"]
    assert records[1].prompt == build_prompt(ScifactClaim(1, "Fire is cold.", {}, (8,)), CORPUS)


def test_score_judges_each_completion_against_its_own_gold(evaluation: EvaluationConfig) -> None:
    records = ScifactClaims().records(evaluation, [])
    right = "CLAIM[c1]: Fire is cold.\nCLAIM[c2] (Document 8): Fire is hot.\nRELATION: c2 refutes c1"
    scores = ScifactClaims().score([Prediction(records[0], "CLAIM[c1]: Ice."), Prediction(records[1], right)])
    assert [shown["c1_match"] for shown in scores.per_record] == [False, True]
    assert scores.metrics["evidence_f1"] == 1
    assert scores.confusion is not None
    assert scores.confusion["refutes"]["refutes"] == 1


@pytest.mark.parametrize("key", ["claims_file", "corpus_file"])
def test_without_its_input_files_there_are_no_records(key: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"set evaluation\.claims_file"):
        ScifactClaims().records(EvaluationConfig(**{key: tmp_path / "x.jsonl"}), [])
