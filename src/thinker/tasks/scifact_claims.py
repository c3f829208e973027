"""Task `scifact_claims`: from a claim and the abstracts it cites to the sentences that support or refute it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from thinker.claim_schema import HYPOTHESIS_ID, Claim, ClaimSet, Relation, c1_span, evidence_spans, parse
from thinker.config.pipeline_models import EvaluationConfig, SchemaField
from thinker.data.scifact import Corpus, ScifactClaim, evidence_sentences, load_scifact
from thinker.errors import DataError
from thinker.evaluation.scifact_metrics import ScifactGold, judge, majority, score, verdict_of
from thinker.tasks.base import (
    ComparedPrompt,
    EvalRecord,
    Example,
    LossWeights,
    Prediction,
    Prompt,
    Scores,
    WeightSpan,
    evaluation_inputs,
    prompt_text,
)
from thinker.tasks.scifact_prompt import build_prompt, read_prompt

if TYPE_CHECKING:
    from thinker.validation.preflight import Check


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

    def checks(self, evaluation: EvaluationConfig | None) -> Sequence[Check]:
        """The check of completions against grammar and prompt, and of prompts against those that `evaluation` builds.

        Prompts of another form are no problem where no evaluation builds any.
        """
        from thinker.tasks.scifact_checks import ScifactRows

        inputs = evaluation_inputs(evaluation) if evaluation else {}
        return [ScifactRows(prompts_are_built=all(key in inputs for key in self.required_inputs))]

    def label(self, example: Example) -> str:
        """The verdict that the completion's relations give."""
        return verdict_of(parse(example.completion))

    def compared(self, prompt: Prompt) -> ComparedPrompt:
        """The hypothesis and the documents; of a prompt of another form, its whole text."""
        text = prompt_text(prompt)
        try:
            read = read_prompt(text)
        except ValueError:
            return ComparedPrompt(text)
        return ComparedPrompt(read.hypothesis, tuple(str(document.doc_id) for document in read.documents))
