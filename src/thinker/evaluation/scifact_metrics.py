"""The metrics of `scifact_claims`, as pure functions of gold and parsed completion.

Settled here, where the definitions leave it open:

- An evidence line is a CLAIM line other than c1's. Lines of the same document and text count once, whatever their ids,
  so that repetition neither gains nor loses.
- A line without a readable document reference can match a gold sentence by its text (`evidence_semantic_match`, which
  ignores documents). Elsewhere it is a line that is wrong: not correct evidence, not grounded, and no valid citation,
  so one of `hallucinated_citations`, which counts all lines without a valid one.
- A sentence is known by its document and text: where a document repeats a gold sentence, either copy is right. A gold
  sentence cited from another document matches, but is neither correct nor (unless it stands there too) grounded.
- A document outside the prompt grounds nothing, whatever the corpus holds.
- A relation is a vote on the verdict if c1 is its target, whether or not its source is stated. The same relation said
  twice is one vote. A tie, or no vote, is the verdict `none`. The gold verdict follows the same rule; a claim whose
  gold votes tie has no gold label, and nothing predicted for it is a correct relation.
- A rate over nothing is None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from thinker.claim_schema import HYPOTHESIS_ID, ClaimSet, RelationKind
from thinker.tasks.base import Metric, Scores

Verdict = Literal["supports", "refutes", "none"]
VERDICTS: tuple[Verdict, ...] = ("supports", "refutes", "none")
Sentence = tuple[int | None, str]


@dataclass(frozen=True)
class ScifactGold:
    """What the metrics need to know of a claim.

    Attributes:
        claim_id: SciFact's own.
        claim: the text that c1 must repeat.
        evidence: gold sentences by (document, text).
        verdict: what they say to the claim.
        documents: the prompt's documents: id -> the texts of its sentences.
    """

    claim_id: int
    claim: str
    evidence: frozenset[tuple[int, str]]
    verdict: Verdict
    documents: Mapping[int, frozenset[str]]


@dataclass(frozen=True)
class Judgement:
    """One completion, judged.

    Attributes:
        c1_match: whether c1 is the claim, after strip.
        lines: distinct evidence lines.
        matching: of these, equal to a gold sentence of any document.
        correct: of these, a gold sentence of the document they cite.
        valid_citations: of these, citing a document of the prompt.
        grounded: of these, a sentence of the document they cite.
        verdict: the majority relation to c1. `parsed` states no relation twice.
    """

    gold: ScifactGold
    parsed: ClaimSet
    c1_match: bool
    lines: int
    matching: int
    correct: int
    valid_citations: int
    grounded: int
    verdict: Verdict

    @property
    def evidence_match(self) -> float | None:
        """Matching lines over lines, 0 without lines; None for a claim without gold evidence."""
        if not self.gold.evidence:
            return None
        return self.matching / self.lines if self.lines else 0.0


def judge(gold: ScifactGold, parsed: ClaimSet) -> Judgement:
    """Hold what a completion says against the gold."""
    lines: frozenset[Sentence] = frozenset((claim.doc_id, claim.text) for claim in parsed.evidence)
    gold_texts = frozenset(text for _, text in gold.evidence)
    cited = [(doc_id, text) for doc_id, text in lines if doc_id in gold.documents]
    return Judgement(
        gold=gold,
        parsed=parsed,
        c1_match=parsed.hypothesis == gold.claim.strip(),
        lines=len(lines),
        matching=sum(text in gold_texts for _, text in lines),
        correct=len(lines & gold.evidence),
        valid_citations=len(cited),
        grounded=sum(doc_id is not None and text in gold.documents[doc_id] for doc_id, text in cited),
        verdict=verdict_of(parsed),
    )


def verdict_of(parsed: ClaimSet) -> Verdict:
    """What a completion says of its hypothesis."""
    return majority([relation.kind for relation in parsed.relations if relation.target == HYPOTHESIS_ID])


def majority(votes: Sequence[RelationKind]) -> Verdict:
    """The kind with more votes; `none` without votes or on a tie."""
    lead = votes.count("supports") - votes.count("refutes")
    return "none" if lead == 0 else "supports" if lead > 0 else "refutes"


def score(judgements: Sequence[Judgement]) -> Scores:
    """All metrics over `judgements`, and what the predictions file shows of each."""
    return Scores(metrics(judgements), tuple(map(_shown, judgements)), confusion(judgements))


def metrics(judgements: Sequence[Judgement]) -> dict[str, Metric]:
    """The table of metrics. N: all claims; E: those with gold evidence."""
    n = len(judgements)
    with_evidence = [each for each in judgements if each.gold.evidence]
    without_evidence = [each for each in judgements if not each.gold.evidence]
    matches = [each.evidence_match or 0.0 for each in with_evidence]
    lines = sum(each.lines for each in judgements)
    valid = sum(each.valid_citations for each in judgements)
    c1_matches = sum(each.c1_match for each in judgements)
    labelled_right = sum(each.verdict != "none" and each.verdict == each.gold.verdict for each in with_evidence)
    return {
        "total": n,
        "c1_exact_match": c1_matches,
        "c1_exact_match_rate": _rate(c1_matches, n),
        "evidence_semantic_match": matches,
        "evidence_semantic_match_avg": _rate(sum(matches), len(matches)),
        **_evidence_prf(judgements),
        "relation_accuracy": _rate(labelled_right, len(with_evidence)),
        "verdict_accuracy": _rate(sum(each.verdict == each.gold.verdict for each in judgements), n),
        "schema_valid_rate": _rate(sum(each.parsed.well_formed for each in judgements), n),
        "citation_valid_rate": _rate(valid, lines),
        "hallucinated_citations": lines - valid,
        "grounded_rate": _rate(sum(each.grounded for each in judgements), lines),
        "abstention_rate": _rate(sum(each.lines == 0 for each in without_evidence), len(without_evidence)),
    }


def confusion(judgements: Sequence[Judgement]) -> dict[str, dict[str, int]]:
    """Gold verdict -> predicted verdict -> number of claims."""
    counts: dict[str, dict[str, int]] = {gold: dict.fromkeys(VERDICTS, 0) for gold in VERDICTS}
    for each in judgements:
        counts[each.gold.verdict][each.verdict] += 1
    return counts


def _evidence_prf(judgements: Sequence[Judgement]) -> dict[str, Metric]:
    """Micro precision, recall and F1 of (document, sentence); F1 is 2 correct / (predicted + gold)."""
    correct = sum(each.correct for each in judgements)
    predicted = sum(each.lines for each in judgements)
    gold = sum(len(each.gold.evidence) for each in judgements)
    return {
        "evidence_precision": _rate(correct, predicted),
        "evidence_recall": _rate(correct, gold),
        "evidence_f1": _rate(2 * correct, predicted + gold),
    }


def _rate(part: float, whole: int) -> float | None:
    return part / whole if whole else None


def _shown(each: Judgement) -> dict[str, Any]:
    return {
        "claim_id": each.gold.claim_id,
        "gold_verdict": each.gold.verdict,
        "verdict": each.verdict,
        "c1_match": each.c1_match,
        "evidence_match": each.evidence_match,
        "gold_evidence": len(each.gold.evidence),
        "evidence_lines": each.lines,
        "correct_evidence": each.correct,
        "hallucinated_citations": each.lines - each.valid_citations,
        "grounded_lines": each.grounded,
        "well_formed": each.parsed.well_formed,
        "forgiven": [{"line": forgiven.line, "what": forgiven.what} for forgiven in each.parsed.forgiven],
        "unparsed": list(each.parsed.unparsed),
    }
