"""Task `scifact_claims`: from a claim and the abstracts it cites to the sentences that support or refute it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from thinker.claim_schema import HYPOTHESIS_ID, Claim, ClaimSet, Relation, c1_span, evidence_spans, parse
from thinker.config.pipeline_models import EvaluationConfig, SchemaField
from thinker.data.scifact import Corpus, Document, ScifactClaim, evidence_sentences, load_scifact
from thinker.errors import DataError
from thinker.evaluation.scifact_metrics import ScifactGold, judge, majority, score
from thinker.tasks.base import EvalRecord, Example, LossWeights, Prediction, Scores, WeightSpan

INSTRUCTION: Final = """\
State the hypothesis, then every sentence of the documents that supports or refutes it, copied word for word:
CLAIM[c1]: <hypothesis>
CLAIM[c2] (Document <id>): <sentence>
RELATION: c2 supports c1 | c2 refutes c1
"""


def build_prompt(claim: ScifactClaim, corpus: Corpus) -> str:
    """The prompt of `claim`, for converter and evaluator alike: instruction, cited documents, hypothesis.

    A document is its id and title, then a line for each sentence that is not blank. The prompt ends with a newline, so
    that the completion's first token starts a line.
    """
    documents = "\n".join(_render_document(corpus[doc_id]) for doc_id in claim.cited_doc_ids)
    return f"{INSTRUCTION}\n{documents}\nHypothesis: {claim.claim}\n"


def build_completion(claim: ScifactClaim, corpus: Corpus) -> ClaimSet:
    """The gold completion: c1, then for each evidence sentence its CLAIM line and its relation to c1."""
    lines: list[Claim | Relation] = [Claim(HYPOTHESIS_ID, claim.claim)]
    for number, sentence in enumerate(evidence_sentences(claim, corpus), start=2):
        lines.append(Claim(f"c{number}", sentence.text, sentence.doc_id))
        lines.append(Relation(f"c{number}", sentence.relation, HYPOTHESIS_ID))
    return ClaimSet(tuple(lines))


def build_gold(claim: ScifactClaim, corpus: Corpus) -> ScifactGold:
    """What the metrics hold a completion against."""
    sentences = evidence_sentences(claim, corpus)
    return ScifactGold(
        claim_id=claim.id,
        claim=claim.claim,
        evidence=frozenset((sentence.doc_id, sentence.text) for sentence in sentences),
        verdict=majority([sentence.relation for sentence in sentences]),
        documents={doc_id: frozenset(filter(None, corpus[doc_id].sentences)) for doc_id in claim.cited_doc_ids},
    )


class ScifactClaims:
    """The task, as `thinker.tasks.base.Task` describes it."""

    name = "scifact_claims"
    required_inputs = ("claims_file", "corpus_file")
    default_schema = (
        SchemaField("prompt", "string"),
        SchemaField("completion", "string"),
        SchemaField("metadata", "object", required=False),
        SchemaField("metadata.claim_id", ("integer", "string"), required=False),
        SchemaField(
            "metadata.doc_ids",
            "array",
            required=False,
            allow_empty=True,
            items=SchemaField("item", ("integer", "string")),
        ),
        SchemaField("metadata.source", "string", required=False),
        SchemaField("metadata.license", "string", required=False),
    )

    def example(self, row: Mapping[str, Any]) -> Example:
        """The row's `prompt` and `completion`."""
        prompt, completion = row.get("prompt"), row.get("completion")
        if not isinstance(prompt, str) or not isinstance(completion, str):
            raise ValueError("a row needs `prompt` and `completion`, both strings")
        return Example(prompt, completion)

    def weight_spans(self, completion: str, weights: LossWeights) -> tuple[WeightSpan, ...]:
        """The c1 line and the evidence lines, where their weights are not 1."""
        spans: list[WeightSpan] = []
        if weights.claim_c1 != 1 and (span := c1_span(completion)):
            spans.append(WeightSpan(*span, weights.claim_c1))
        if weights.evidence != 1:
            spans += (WeightSpan(*span, weights.evidence) for span in evidence_spans(completion))
        return tuple(sorted(spans, key=lambda span: span.start))

    def records(self, evaluation: EvaluationConfig, held_out: Sequence[Mapping[str, Any]]) -> list[EvalRecord]:
        """One record a claim of `claims_file`. Held-out rows are not used: they carry no gold but their completion."""
        if evaluation.claims_file is None or evaluation.corpus_file is None:
            raise DataError("task scifact_claims evaluates SciFact claims: set evaluation.claims_file and .corpus_file")
        claims, corpus = load_scifact(evaluation.claims_file, evaluation.corpus_file)
        return [EvalRecord(str(claim.id), build_prompt(claim, corpus), build_gold(claim, corpus)) for claim in claims]

    def score(self, predictions: Sequence[Prediction]) -> Scores:
        """The metrics of `thinker.evaluation.scifact_metrics`."""
        return score([judge(each.record.gold, parse(each.completion)) for each in predictions])


def _render_document(document: Document) -> str:
    title = f"Document {document.doc_id}: {document.title}".rstrip()
    return "".join(f"{line}\n" for line in (title, *filter(None, document.sentences)))
