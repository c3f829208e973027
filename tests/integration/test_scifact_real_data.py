"""The real SciFact files through converter, grammar, evaluator's records and metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thinker.claim_schema import c1_span, evidence_spans, parse, render
from thinker.config.pipeline_models import EvaluationConfig
from thinker.data.convert import ConversionReport, convert_scifact
from thinker.data.scifact import load_scifact
from thinker.errors import ConversionError
from thinker.tasks.base import Prediction
from thinker.tasks.scifact_claims import ScifactClaims, build_completion

pytestmark = pytest.mark.scifact
Row = dict[str, Any]
COUNTS = {"train": (809, 332, 173, 304), "dev": (300, 124, 64, 112)}


def read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


@pytest.fixture(scope="module", params=sorted(COUNTS))
def split(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def converted(
    split: str, scifact_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ConversionReport, list[Row]]:
    out = tmp_path_factory.mktemp("converted") / f"{split}.jsonl"
    report = convert_scifact(scifact_dir / f"claims_{split}.jsonl", scifact_dir / "corpus.jsonl", out)
    return report, read(out)


@pytest.fixture(scope="module")
def sentences(scifact_dir: Path) -> dict[int, set[str]]:
    """Document id -> its sentences, stripped, read without Thinker."""
    return {row["doc_id"]: {text.strip() for text in row["abstract"]} for row in read(scifact_dir / "corpus.jsonl")}


@pytest.fixture(scope="module")
def claims(split: str, scifact_dir: Path) -> dict[int, Row]:
    """Claim id -> its row, read without Thinker."""
    return {row["id"]: row for row in read(scifact_dir / f"claims_{split}.jsonl")}


Converted = tuple[ConversionReport, list[Row]]


def test_every_claim_is_a_row(split: str, converted: Converted) -> None:
    report, rows = converted
    total, supports, refutes, none = COUNTS[split]
    assert (report.rows, report.dropped, len(rows)) == (total, 0, total)
    assert report.by_label == {"supports": supports, "refutes": refutes, "none": none}


def test_each_c1_is_its_claim(converted: Converted, claims: dict[int, Row]) -> None:
    for row in converted[1]:
        claim = claims[row["metadata"]["claim_id"]]["claim"]
        assert parse(row["completion"]).hypothesis == claim.strip()
        assert row["completion"].split("\n")[0] == f"CLAIM[c1]: {claim.strip()}"


def test_each_evidence_line_is_verbatim_a_sentence_of_the_document_it_cites(
    converted: Converted, sentences: dict[int, set[str]]
) -> None:
    seen = 0
    for row in converted[1]:
        for line in parse(row["completion"]).evidence:
            assert line.doc_id in row["metadata"]["doc_ids"]
            assert line.text in sentences[line.doc_id]
            assert f"\n{line.text}\n" in row["prompt"]
            seen += 1
    assert seen > 300


def test_the_evidence_lines_are_the_union_of_the_rationales(
    converted: Converted, claims: dict[int, Row], scifact_dir: Path
) -> None:
    abstracts = {row["doc_id"]: row["abstract"] for row in read(scifact_dir / "corpus.jsonl")}
    for row in converted[1]:
        expected = {
            (int(doc_id), abstracts[int(doc_id)][index].strip(), rationale["label"])
            for doc_id, rationales in claims[row["metadata"]["claim_id"]]["evidence"].items()
            for rationale in rationales
            for index in rationale["sentences"]
        }
        parsed = parse(row["completion"])
        kinds = {relation.source: relation.kind for relation in parsed.relations}
        label = {"supports": "SUPPORT", "refutes": "CONTRADICT"}
        assert {(line.doc_id, line.text, label[kinds[line.id]]) for line in parsed.evidence} == expected
        assert len(parsed.evidence) == len(expected)


def test_parse_forgives_nothing_and_inverts_render(split: str, converted: Converted, scifact_dir: Path) -> None:
    claims, corpus = load_scifact(scifact_dir / f"claims_{split}.jsonl", scifact_dir / "corpus.jsonl")
    for claim, row in zip(claims, converted[1], strict=True):
        completion = build_completion(claim, corpus)
        parsed = parse(row["completion"])
        assert parsed.well_formed
        assert parsed == completion
        assert render(parsed) == row["completion"]


def test_spans_cover_all_claim_lines(converted: Converted) -> None:
    for row in converted[1]:
        text = row["completion"]
        spans = [c1_span(text), *evidence_spans(text)]
        assert [text[slice(*span)] for span in spans if span] == [
            line for line in text.split("\n") if line.startswith("CLAIM[")
        ]


def records(split: str, folder: Path) -> list[Any]:
    evaluation = EvaluationConfig(claims_file=folder / f"claims_{split}.jsonl", corpus_file=folder / "corpus.jsonl")
    return list(ScifactClaims().records(evaluation, []))


def test_the_evaluators_prompt_is_the_datasets_prompt(split: str, converted: Converted, scifact_dir: Path) -> None:
    by_id = {record.record_id: record.prompt for record in records(split, scifact_dir)}
    assert by_id == {str(row["metadata"]["claim_id"]): row["prompt"] for row in converted[1]}


def test_gold_completions_score_perfect_on_every_metric(split: str, converted: Converted, scifact_dir: Path) -> None:
    pairs = zip(records(split, scifact_dir), converted[1], strict=True)
    scores = ScifactClaims().score([Prediction(record, row["completion"]) for record, row in pairs])
    total, supports, refutes, none = COUNTS[split]
    metrics = dict(scores.metrics)
    assert metrics.pop("total") == metrics.pop("c1_exact_match") == total
    assert metrics.pop("hallucinated_citations") == 0
    assert metrics.pop("evidence_semantic_match") == [1.0] * (supports + refutes)
    assert metrics == dict.fromkeys(metrics, 1.0)
    assert scores.confusion is not None
    assert [scores.confusion[verdict][verdict] for verdict in ("supports", "refutes", "none")] == [
        supports,
        refutes,
        none,
    ]
    json.dumps(scores.per_record)


def test_the_test_file_is_refused_for_lack_of_labels(scifact_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"claims_test\.jsonl:1: no `evidence`"):
        convert_scifact(scifact_dir / "claims_test.jsonl", scifact_dir / "corpus.jsonl", tmp_path / "out.jsonl")
