"""The gate's check of SciFact rows: the completion against its grammar and against the prompt that it answers.

One defect makes one problem, so what may follow from another is not judged:

- Where a line says nothing, no claim counts as missing: it may be the one that was meant.
- A line whose spelling was forgiven is not compared with the prompt: its text may not be what was meant.
- Without c1, relations to c1 are not unknown as well.
- A prompt that cannot be read has no hypothesis and no documents to compare with.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from thinker.claim_schema import HYPOTHESIS_ID, Claim, ClaimSet, Relation, parse
from thinker.tasks.base import prompt_text
from thinker.tasks.scifact_prompt import ScifactPrompt, read_prompt
from thinker.validation.preflight import CheckedRow, Found


class ScifactRows:
    """The check, row by row.

    Args:
        prompts_are_built: whether an evaluation builds prompts, from which those of the rows must not differ in form.
    """

    rules: tuple[str, ...] = (
        "claim-forgiven",
        "claim-unparsed",
        "c1-missing",
        "c1-differs",
        "evidence-not-verbatim",
        "citation-unknown",
        "relation-unknown",
        "relation-contradiction",
        "relation-cycle",
        "prompt-form",
    )

    def __init__(self, *, prompts_are_built: bool) -> None:
        self._prompts_are_built = prompts_are_built
        self._unread_prompts = 0

    def rows(self, batch: Sequence[CheckedRow]) -> Iterator[Found]:
        """What is wrong with each row."""
        for row in batch:
            prompt = None
            try:
                prompt = read_prompt(prompt_text(row.example.prompt))
            except ValueError as error:
                self._unread_prompts += 1
                if self._prompts_are_built:
                    yield Found("prompt-form", f"not as evaluation builds it: {error}", row, "prompt")
            for rule, message, text in completion_problems(row.example.completion, prompt):
                yield Found(rule, message, row, "completion", text)

    def finish(self) -> Iterable[Found]:
        """Nothing: rows stand by themselves."""
        return ()

    def statistics(self) -> Mapping[str, Any]:
        """`prompts_of_another_form`: with these, no completion was compared."""
        return {"prompts_of_another_form": self._unread_prompts}


Finding = tuple[str, str, str | None]
"""Rule, message, and the text concerned."""


def completion_problems(completion: str, prompt: ScifactPrompt | None) -> Iterator[Finding]:
    """What is wrong with `completion`; None for a prompt that cannot be read."""
    said = parse(completion)
    yield from _of_grammar(completion, said)
    if said.hypothesis is None and not said.unparsed:
        yield "c1-missing", "no line CLAIM[c1] states the hypothesis", None
    yield from _of_prompt(said, prompt)
    yield from _of_relations(said)


def _of_grammar(completion: str, said: ClaimSet) -> Iterator[Finding]:
    others = {"no-document", "unstated"} | ({"order"} if said.hypothesis is None else set())
    forgiven = [each for each in said.forgiven if each.kind not in others]
    lines = re.split(r"\r\n|\r|\n", completion)
    if forgiven:
        what = "; ".join(f"line {each.line}: {each.what}" for each in forgiven)
        yield "claim-forgiven", what, lines[forgiven[0].line - 1]
    if said.unparsed:
        unparsed = {text.strip() for text in said.unparsed}
        places = [str(number) for number, line in enumerate(lines, start=1) if line.strip() in unparsed]
        what = f"line{'s' if len(places) > 1 else ''} {', '.join(places)}"
        yield "claim-unparsed", f"{what}: neither a CLAIM nor a RELATION", said.unparsed[0]


def _of_prompt(said: ClaimSet, prompt: ScifactPrompt | None) -> Iterator[Finding]:
    misspelt = {each.line for each in said.forgiven if each.kind == "spelling"}
    placed = zip(said.numbers, said.lines, strict=True)
    judged = [line for number, line in placed if isinstance(line, Claim) and number not in misspelt]
    first_c1 = next((claim for claim in said.claims if claim.id == HYPOTHESIS_ID), None)
    if prompt and first_c1 in judged and first_c1.text != prompt.hypothesis:
        yield "c1-differs", f"c1 is not the prompt's hypothesis, '{prompt.hypothesis}'", first_c1.text
    sentences = {document.doc_id: document.sentences for document in prompt.documents} if prompt else {}
    for claim in judged:
        if claim.id == HYPOTHESIS_ID:
            continue
        if claim.doc_id is None:
            yield "citation-unknown", f"{claim.id} cites no document", claim.text
        elif prompt and claim.doc_id not in sentences:
            yield "citation-unknown", f"{claim.id} cites document {claim.doc_id}, which the prompt lacks", claim.text
        elif prompt and claim.text not in sentences[claim.doc_id]:
            yield "evidence-not-verbatim", _not_verbatim(claim, sentences), claim.text


def _not_verbatim(claim: Claim, sentences: Mapping[int, Sequence[str]]) -> str:
    others = [str(doc_id) for doc_id, texts in sentences.items() if claim.text in texts]
    elsewhere = f"; it is one of document {others[0]}" if others else ""
    return f"{claim.id} is not, word for word, a sentence of document {claim.doc_id}{elsewhere}"


def _of_relations(said: ClaimSet) -> Iterator[Finding]:
    relations = said.relations
    stated = {claim.id for claim in said.claims} | {HYPOTHESIS_ID}  # that c1 is missing is another problem
    named = dict.fromkeys(claim_id for each in relations for claim_id in (each.source, each.target))
    if not said.unparsed:
        for claim_id in named:
            if claim_id not in stated:
                yield "relation-unknown", f"a relation names {claim_id}, which no line states", None
    kinds: dict[tuple[str, str], str] = {}
    for each in relations:
        if kinds.setdefault((each.source, each.target), each.kind) != each.kind:
            yield "relation-contradiction", f"{each.source} both supports and refutes {each.target}", None
    if cycle := _cycle(relations):
        yield "relation-cycle", f"relations lead back to where they began: {' -> '.join(cycle)}", None


def _cycle(relations: Sequence[Relation]) -> list[str]:
    """A way along relations back to its start, which is its claim with the least number; empty where there is none."""
    graph: TopologicalSorter[str] = TopologicalSorter()
    for each in relations:
        graph.add(each.target, each.source)
    try:
        graph.prepare()
    except CycleError as error:
        way: list[str] = error.args[1][1:]
        start = min(range(len(way)), key=lambda place: int(way[place][1:]))
        return [*way[start:], *way[: start + 1]]
    return []
