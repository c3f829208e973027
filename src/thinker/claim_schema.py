"""The CLAIM/RELATION grammar: what a SciFact completion says, as lines.

    CLAIM[c1]: <hypothesis>
    CLAIM[c2] (Document <doc_id>): <sentence>
    RELATION: c2 supports c1

`render` writes exactly this. `parse` also reads what models really write (other case and spacing, `-` for `:`, bullets,
`contrasts`, no document reference, …), never raises, and names everything it had to forgive.

Example:
    >>> parse("claim[C1] - Water is wet.").lines
    (Claim(id='c1', text='Water is wet.', doc_id=None),)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

RelationKind = Literal["supports", "refutes"]
ForgivenKind = Literal["spelling", "repeated", "no-document", "unstated", "order"]
HYPOTHESIS_ID: Final = "c1"

_NO_DOCUMENT: Final = "no document reference"

_ID = re.compile(r"c[1-9][0-9]{0,8}")
_MAX_DOC_ID: Final = 10**18 - 1


@dataclass(frozen=True)
class Claim:
    """A CLAIM line: the hypothesis (`c1`), or a sentence of a document.

    Raises:
        ValueError: the id is not `c` and a number; or the text is empty, has whitespace at an end, or holds a line
            break; or the document id is not an integer from 0 to 10**18 - 1. A line could not carry these.
    """

    id: str
    text: str
    doc_id: int | None = None

    def __post_init__(self) -> None:
        _check_id(self.id)
        if not self.text or self.text != self.text.strip() or "\n" in self.text or "\r" in self.text:
            raise ValueError(
                f"a claim's text is one line, not empty, without whitespace at its ends; got {self.text[:60]!r}"
            )
        if self.doc_id is not None and not 0 <= self.doc_id <= _MAX_DOC_ID:
            raise ValueError(f"a document id is an integer from 0 to {_MAX_DOC_ID}; got {self.doc_id}")


@dataclass(frozen=True)
class Relation:
    """A RELATION line: claim `source` supports or refutes claim `target`.

    Raises:
        ValueError: an id is not `c` and a number, or a claim is related to itself, or the kind is unknown.
    """

    source: str
    kind: RelationKind
    target: str

    def __post_init__(self) -> None:
        _check_id(self.source)
        _check_id(self.target)
        if self.source == self.target:
            raise ValueError(f"a relation is between two claims; got {self.source} twice")
        if self.kind not in ("supports", "refutes"):
            raise ValueError(f"a relation is 'supports' or 'refutes'; got {self.kind!r}")


Line = Claim | Relation


@dataclass(frozen=True)
class Forgiven:
    """A departure from the grammar that `parse` overlooked, and the number of its line, from 1.

    Attributes:
        kind: `spelling` of one line; a line or a claim's id `repeated`; an evidence line with `no-document`; a relation
            to an `unstated` claim; c1 not first, against the `order`.
    """

    line: int
    what: str
    kind: ForgivenKind = field(default="spelling", compare=False)


@dataclass(frozen=True)
class ClaimSet:
    """What a completion says: its lines, in order. Two are equal if they say the same, however it was spelt.

    Attributes:
        lines: claims and relations, none of them twice. An id may head several claims, as in text that models repeat.
        forgiven: what `parse` overlooked.
        unparsed: lines that say nothing in this grammar.
        numbers: where `parse` found each of `lines`, counting from 1.

    Raises:
        ValueError: a line is there twice.
    """

    lines: tuple[Line, ...]
    forgiven: tuple[Forgiven, ...] = field(default=(), compare=False)
    unparsed: tuple[str, ...] = field(default=(), compare=False)
    numbers: tuple[int, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if len(set(self.lines)) != len(self.lines):
            raise ValueError("a claim set states no line twice")

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The CLAIM lines."""
        return tuple(line for line in self.lines if isinstance(line, Claim))

    @property
    def relations(self) -> tuple[Relation, ...]:
        """The RELATION lines."""
        return tuple(line for line in self.lines if isinstance(line, Relation))

    @property
    def hypothesis(self) -> str | None:
        """The text of the first c1 line."""
        return next((claim.text for claim in self.claims if claim.id == HYPOTHESIS_ID), None)

    @property
    def evidence(self) -> tuple[Claim, ...]:
        """The CLAIM lines other than c1."""
        return tuple(claim for claim in self.claims if claim.id != HYPOTHESIS_ID)

    @property
    def well_formed(self) -> bool:
        """Whether it says something, and `parse` had nothing to forgive or to leave out."""
        return bool(self.lines) and not self.forgiven and not self.unparsed


def render(claim_set: ClaimSet) -> str:
    """The text of `claim_set`, without a newline at its end. `parse(render(x)) == x`."""
    return "\n".join(map(_render_line, claim_set.lines))


def parse(text: str) -> ClaimSet:
    """What `text` says. Takes any text, in time linear in its length.

    Whitespace around the whole text is not held against it. A line said before is left out, and noted.
    """
    lines: dict[Line, int] = {}
    forgiven: list[Forgiven] = []
    unparsed: list[str] = []
    for read in _read(text):
        forgiven += (Forgiven(read.number, note, _kind(note)) for note in read.notes)
        if read.line is None:
            if not read.notes:
                unparsed.append(text[read.start : read.end])
        elif read.line in lines:
            forgiven.append(Forgiven(read.number, "line said before", "repeated"))
        else:
            lines[read.line] = read.number
    forgiven += _disorder(lines)
    in_order = tuple(sorted(forgiven, key=lambda each: each.line))
    return ClaimSet(tuple(lines), in_order, tuple(unparsed), tuple(lines.values()))


def c1_span(completion: str) -> tuple[int, int] | None:
    """Characters [start, end) of the first CLAIM[c1] line, without its line break; None if there is none."""
    return next(
        (
            (read.start, read.end)
            for read in _read(completion)
            if isinstance(read.line, Claim) and read.line.id == HYPOTHESIS_ID
        ),
        None,
    )


def evidence_spans(completion: str) -> tuple[tuple[int, int], ...]:
    """Characters [start, end) of each CLAIM line other than c1's, without line breaks, in order."""
    return tuple(
        (read.start, read.end)
        for read in _read(completion)
        if isinstance(read.line, Claim) and read.line.id != HYPOTHESIS_ID
    )


def _check_id(claim_id: str) -> None:
    if not _ID.fullmatch(claim_id):
        raise ValueError(f"a claim id is 'c' and a number from 1 to 999999999, like c1; got {claim_id!r}")


def _render_line(line: Line) -> str:
    if isinstance(line, Relation):
        return f"RELATION: {line.source} {line.kind} {line.target}"
    document = "" if line.doc_id is None else f" (Document {line.doc_id})"
    return f"CLAIM[{line.id}]{document}: {line.text}"


@dataclass(frozen=True)
class _ReadLine:
    """A line of a text: where it is, what it says (None: nothing), and what was forgiven to read it so."""

    number: int
    start: int
    end: int
    line: Line | None
    notes: tuple[str, ...]


_TEXT_LINE = re.compile(r"([^\r\n]*+)(\r\n|\r|\n|\Z)")


def _read(text: str) -> Iterator[_ReadLine]:
    """The lines of `text`, from its first that is not blank to its last."""
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    number = len(re.findall(r"\r\n|\r|\n", text[:start]))
    for match in _TEXT_LINE.finditer(text, start, end):
        if match.start() >= end:
            return
        number += 1
        line, notes = _read_line(match[1])
        if match[2].startswith("\r") and (line or notes):
            notes = (*notes, "carriage return")
        yield _ReadLine(number, *match.span(1), line, notes)


def _disorder(lines: dict[Line, int]) -> Iterator[Forgiven]:
    """What is wrong with lines (mapped to their numbers) only as seen together."""
    stated: set[str] = set()
    for line, number in lines.items():
        if not isinstance(line, Claim):
            continue
        if line.id in stated:
            yield Forgiven(number, f"second claim {line.id}", "repeated")
        stated.add(line.id)
    for line, number in lines.items():
        if isinstance(line, Relation):
            for claim_id in (line.source, line.target):
                if claim_id not in stated:
                    yield Forgiven(number, f"relation names {claim_id}, which no line states", "unstated")
    first = next(iter(lines), None)
    if first is not None and not (isinstance(first, Claim) and first.id == HYPOTHESIS_ID):
        yield Forgiven(lines[first], "first line is not CLAIM[c1]", "order")


def _kind(note: str) -> ForgivenKind:
    return "no-document" if note == _NO_DOCUMENT else "spelling"


_CLAIM = re.compile(r"CLAIM\[(c[1-9][0-9]{0,8})\](?: \(Document (0|[1-9][0-9]{0,17})\))?: ")
_RELATION = re.compile(r"RELATION: (c[1-9][0-9]{0,8}) (supports|refutes) (c[1-9][0-9]{0,8})")


def _read_line(text: str) -> tuple[Line | None, tuple[str, ...]]:
    """What a line says and what was forgiven. Nothing said, yet something forgiven: a line to skip."""
    head = _CLAIM.match(text)
    if head and text[head.end() :] and text[head.end() :] == text[head.end() :].strip():
        claim = Claim(head[1], text[head.end() :], None if head[2] is None else int(head[2]))
        return claim, _reference_notes(claim)
    relation = _RELATION.fullmatch(text)
    if relation and relation[1] != relation[3]:
        return _relation(relation[1], relation[2] == "supports", relation[3]), ()
    return _read_loosely(text.strip())


def _relation(source: str, supports: bool, target: str) -> Relation:
    return Relation(source, "supports" if supports else "refutes", target)


def _reference_notes(claim: Claim) -> tuple[str, ...]:
    if claim.id == HYPOTHESIS_ID:
        return () if claim.doc_id is None else ("document reference on c1",)
    return (_NO_DOCUMENT,) if claim.doc_id is None else ()


# Possessive quantifiers (`*+`, `++`) keep these linear: no run of characters is ever given back and tried again.
_FENCE = re.compile(r"(?:```|~~~)\s*+\w*+")
_BULLET = re.compile(r"(?:[-*•>#–]++\s++|\(?[0-9]{1,3}+[.)]\s*+)++")
_LOOSE_CLAIM = re.compile(
    r"""
    (?P<mark>[*_`]{1,3}+)?
    (?P<word>claim) \s*+
    (?P<id>(?P<open>[\[({<])? \s*+ (?P<c>c)? \s*+ (?P<number>[0-9]{1,9}+) (?![0-9]) \s*+ (?P<close>[\])}>])?)
    (?P<mark_end>(?(mark)[*_`]{0,3}+)) \s*+
    (?P<reference>
        [\[(<]?+ \s*+ (?:doc(?:ument)?+|source|abstract) [.]?+ \s*+ (?:id)?+ \s*+ [:\#=_]?+ \s*+
            (?P<doc>[0-9]{1,18}+) (?![0-9]) (?:[,;][^\])>:]{0,40}+)?+ \s*+ [\])>]?+
        | [\[(] \s*+ (?P<bare>[0-9]{1,18}+) \s*+ [\])]
        | [(] [^()]{0,60}+ [)]
    )?+
    \s*+ (?P<mark_end_2>(?(mark)[*_`]{0,3}+)) \s*+
    (?P<separator>[:：=–—→]|-{1,3}+>?+)?+
    (?P<mark_end_3>(?(mark)[*_`]{0,3}+))
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NODE = r"(?:claim\s*+)?+[\[({<]?+\s*+c?+\s*+(?P<%s>[0-9]{1,9}+)(?![0-9])\s*+[\])}>]?+"
_LOOSE_RELATION = re.compile(
    r"[*_`]{0,3}+(?P<head>relations?+\s*+[*_`]{0,3}+\s*+(?:[:：=–—→]|-{1,3}+>?+)?+\s*+[*_`]{0,3}+\s*+)?+"
    + (_NODE % "source")
    + r"\s*+(?P<verb>[a-z]{2,20}+(?:\s++[a-z]{2,20}+){0,2}?)\s++"
    + (_NODE % "target")
    + r"\s*+[.;*_`]{0,4}+",
    re.IGNORECASE,
)

# What models say for "supports" and "refutes"; a passive turns source and target round.
_SUPPORTS: Final = {"support", "supports", "supporting", "confirm", "confirms", "entail", "entails", "agrees with"}
_REFUTES: Final = {
    *("refute", "refutes", "refuting", "contradict", "contradicts", "contradicting", "contrast", "contrasts"),
    *("contrasts with", "opposes", "disputes", "denies", "disproves", "rejects", "disagrees with"),
}
_SUPPORTED_BY: Final = {"supported by", "is supported by", "confirmed by", "is confirmed by"}
_REFUTED_BY: Final = {
    f"{verb} {participle} by".strip()
    for verb in ("", "is")
    for participle in ("refuted", "contradicted", "contrasted", "opposed", "disproved", "rejected")
}


def _read_loosely(text: str) -> tuple[Line | None, tuple[str, ...]]:
    if not text:
        return None, ("blank line",)
    if _FENCE.fullmatch(text):
        return None, ("code fence",)
    notes: tuple[str, ...] = ()
    if bullet := _BULLET.match(text):
        text, notes = text[bullet.end() :], ("bullet or number",)
    if head := _LOOSE_CLAIM.match(text):
        line, more = _loose_claim(head)
    elif found := _LOOSE_RELATION.fullmatch(text):
        line, more = _loose_relation(found)
    else:
        return None, ()
    if line is None:
        return None, ()
    return line, (*notes, *more) or ("spacing",)


def _loose_claim(head: re.Match[str]) -> tuple[Line | None, tuple[str, ...]]:
    mark, separator = head["mark"], head["separator"]
    said, rest = head[0], head.string[head.end() :]
    if mark and not (head["mark_end"] or head["mark_end_2"] or head["mark_end_3"]):
        rest = rest.removesuffix(mark)
    body, number = rest.strip(), int(head["number"])
    bracketed = bool(head["open"] and head["close"])
    # "Claims 1-3 …" and "Claim 2 of the paper …" are prose.
    unsure = (separator != ":" and not bracketed and not head["c"]) or (
        separator is None and (not bracketed or body[:1] in "([" or said == said.rstrip())
    )
    if number == 0 or not body or unsure:
        return None, ()
    reference = head["reference"]
    document = head["doc"] or head["bare"]
    claim = Claim(f"c{number}", body, None if document is None else int(document))
    notes = {
        "case": head["word"] != "CLAIM",
        "emphasis": bool(mark),
        "claim id": head["id"] != f"[{claim.id}]",
        "form of the document reference": document is not None and reference != f"(Document {claim.doc_id})",
        "unreadable document reference": bool(reference) and document is None,
        "no separator": separator is None,
        f"separator {separator!r}": separator not in (":", None),
    }
    found = tuple(note for note, holds in notes.items() if holds)
    return claim, (*found, *(() if reference and document is None else _reference_notes(claim)))


def _loose_relation(found: re.Match[str]) -> tuple[Line | None, tuple[str, ...]]:
    source, target = int(found["source"]), int(found["target"])
    verb = " ".join(found["verb"].lower().split())
    if verb in _SUPPORTED_BY or verb in _REFUTED_BY:
        source, target = target, source
    supports = verb in _SUPPORTS or verb in _SUPPORTED_BY
    known = supports or verb in _REFUTES or verb in _REFUTED_BY
    headless = found["head"] is None
    if not known or 0 in (source, target) or source == target or (headless and found[0][:1] not in "cC["):
        return None, ()
    notes = () if found["verb"] in ("supports", "refutes") else (f"relation {found['verb']!r}",)
    spelling = () if headless or found["head"].startswith("RELATION:") else ("spelling of RELATION",)
    return _relation(f"c{source}", supports, f"c{target}"), (
        *(("no RELATION",) if headless else ()),
        *spelling,
        *notes,
    )
