from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinker.claim_schema import (
    Claim,
    ClaimSet,
    Forgiven,
    Relation,
    c1_span,
    evidence_spans,
    parse,
    render,
)

GOLD = ClaimSet(
    (
        Claim("c1", "Water is wet."),
        Claim("c2", "Water wets (all) things: 5%.", 7),
        Relation("c2", "supports", "c1"),
        Claim("c3", "Ice is dry.", 7),
        Relation("c3", "refutes", "c1"),
    )
)
GOLD_TEXT = """\
CLAIM[c1]: Water is wet.
CLAIM[c2] (Document 7): Water wets (all) things: 5%.
RELATION: c2 supports c1
CLAIM[c3] (Document 7): Ice is dry.
RELATION: c3 refutes c1"""

ids = st.integers(1, 999_999_999).map(lambda number: f"c{number}") | st.sampled_from(["c1", "c2"])
grammar_bits = st.sampled_from(["CLAIM[c1]: ", "(Document 3): ", "RELATION: c2 supports c1", "- ", "**", "`", " ", ":"])
texts = (
    st.lists(st.text(st.characters(blacklist_characters="\r\n")) | grammar_bits, min_size=1)
    .map(lambda parts: "".join(parts).strip())
    .filter(bool)
)
claims = st.builds(Claim, ids, texts, st.none() | st.integers(0, 10**18 - 1))
relations = (
    st.tuples(ids, st.sampled_from(["supports", "refutes"]), ids)
    .filter(lambda parts: parts[0] != parts[2])
    .map(lambda parts: Relation(*parts))
)
claim_sets = st.lists(claims | relations, unique=True, max_size=6).map(lambda lines: ClaimSet(tuple(lines)))

# Text near the grammar, as a model that has half learned it writes it.
fragments = st.sampled_from(
    [
        *("CLAIM", "claim", "[", "]", "c1", "c2", "0", "9" * 5000, "(Document ", "doc", "7", ")", ":", " - ", "**"),
        *("RELATION", "supports", " supported by ", "contrasts", "```", "1. "),
        *("\n", "\r", "\r\n", " ", "\t", "\x85", "\ud800", "ſ", "K"),
    ]
)
near_grammar = st.lists(fragments | st.text(max_size=3), max_size=20).map("".join)


def one(text: str) -> Claim | Relation:
    """What the last line of `text` says, after a c1 line and a c2 line that are in order."""
    parsed = parse(f"CLAIM[c1]: x\nCLAIM[c2] (Document 1): y\n{text}")
    assert len(parsed.lines) == 3, parsed
    return parsed.lines[2]


def forgiven(text: str) -> tuple[str, ...]:
    return tuple(note.what for note in parse(f"CLAIM[c1]: x\nCLAIM[c2] (Document 1): y\n{text}").forgiven)


def test_a_claim_set_is_rendered_as_its_lines() -> None:
    assert render(GOLD) == GOLD_TEXT


def test_rendered_text_is_parsed_with_nothing_to_forgive() -> None:
    parsed = parse(GOLD_TEXT)
    assert parsed == GOLD
    assert parsed.well_formed
    assert (parsed.forgiven, parsed.unparsed) == ((), ())


@given(claim_sets)
def test_parse_inverts_render(claim_set: ClaimSet) -> None:
    parsed = parse(render(claim_set))
    assert parsed == claim_set
    assert parsed.unparsed == ()


@given(st.text() | near_grammar)
def test_parse_takes_any_text_and_what_it_reads_can_be_rendered(text: str) -> None:
    parsed = parse(text)
    assert parse(render(parsed)) == parsed


@given(near_grammar | claim_sets.map(render))
def test_spans_are_whole_lines_of_the_claims_that_parse_reads(text: str) -> None:
    parsed = parse(text)
    first = c1_span(text)
    assert (first is None) == (parsed.hypothesis is None)
    spans = [*evidence_spans(text), *([] if first is None else [first])]
    for start, end in spans:
        assert start == 0 or text[start - 1] in "\r\n" or not text[:start].strip()
        assert end == len(text) or text[end] in "\r\n" or not text[end:].strip()
        assert isinstance(parse(text[start:end]).lines[0], Claim)
    # A line said twice is one claim with two spans.
    assert {parse(text[start:end]).claims[0] for start, end in evidence_spans(text)} == set(parsed.evidence)


@pytest.mark.parametrize(
    ("text", "expected", "notes"),
    [
        ("claim[c3] (Document 7): Ice.", Claim("c3", "Ice.", 7), ("case",)),
        ("CLAIM[C3] (Document 7): Ice.", Claim("c3", "Ice.", 7), ("claim id",)),
        ("CLAIM[3] (Document 7): Ice.", Claim("c3", "Ice.", 7), ("claim id",)),
        ("CLAIM[c03] (Document 7): Ice.", Claim("c3", "Ice.", 7), ("claim id",)),
        ("CLAIM c3 (Document 7): Ice.", Claim("c3", "Ice.", 7), ("claim id",)),
        ("  CLAIM [c3]  (Document 7) :  Ice. ", Claim("c3", "Ice.", 7), ("spacing",)),
        ("CLAIM[c3] (Document 7):Ice.", Claim("c3", "Ice.", 7), ("spacing",)),
        ("CLAIM[c3] (Document 7) - Ice.", Claim("c3", "Ice.", 7), ("separator '-'",)),
        ("CLAIM[c3] (Document 7) Ice.", Claim("c3", "Ice.", 7), ("no separator",)),
        ("CLAIM[c3] (doc 7): Ice.", Claim("c3", "Ice.", 7), ("form of the document reference",)),
        ("CLAIM[c3] [Document ID: 7]: Ice.", Claim("c3", "Ice.", 7), ("form of the document reference",)),
        ("CLAIM[c3] (7): Ice.", Claim("c3", "Ice.", 7), ("form of the document reference",)),
        ("CLAIM[c3] (Document 7, sentence 2): Ice.", Claim("c3", "Ice.", 7), ("form of the document reference",)),
        ("CLAIM[c3] (Document 007): Ice.", Claim("c3", "Ice.", 7), ("form of the document reference",)),
        ("CLAIM[c3]: Ice.", Claim("c3", "Ice."), ("no document reference",)),
        ("CLAIM[c3] (Smith 2020): Ice.", Claim("c3", "Ice."), ("unreadable document reference",)),
        (f"CLAIM[c3] (Document {'7' * 30}): Ice.", Claim("c3", "Ice."), ("unreadable document reference",)),
        ("- CLAIM[c3] (Document 7): Ice.", Claim("c3", "Ice.", 7), ("bullet or number",)),
        ("3. CLAIM[c3] (Document 7): Ice.", Claim("c3", "Ice.", 7), ("bullet or number",)),
        ("**CLAIM[c3] (Document 7):** *E. coli*", Claim("c3", "*E. coli*", 7), ("emphasis",)),
        ("**CLAIM[c3] (Document 7): Ice.**", Claim("c3", "Ice.", 7), ("emphasis",)),
        ("relation: c2 supports c1", Relation("c2", "supports", "c1"), ("spelling of RELATION",)),
        ("RELATION:  C2 supports c1.", Relation("c2", "supports", "c1"), ("spacing",)),
        ("RELATION: CLAIM[c2] refutes CLAIM[c1]", Relation("c2", "refutes", "c1"), ("spacing",)),
        ("RELATION: c2 contrasts c1", Relation("c2", "refutes", "c1"), ("relation 'contrasts'",)),
        ("RELATION: c2 contradicts c1", Relation("c2", "refutes", "c1"), ("relation 'contradicts'",)),
        ("RELATION: c1 supported by c2", Relation("c2", "supports", "c1"), ("relation 'supported by'",)),
        ("RELATION: c1 is refuted by c2", Relation("c2", "refutes", "c1"), ("relation 'is refuted by'",)),
        ("c2 supports c1", Relation("c2", "supports", "c1"), ("no RELATION",)),
    ],
)
def test_what_models_really_write_is_read_and_named(
    text: str, expected: Claim | Relation, notes: tuple[str, ...]
) -> None:
    assert one(text) == expected
    assert forgiven(text) == notes


@pytest.mark.parametrize(
    "text",
    [
        "The hypothesis is right.",
        "Claims 1-3 are about water.",
        "Claim 1 - 3 are about water.",
        "Claim 2 of the paper - water.",
        "CLAIM[c3] (Document (7)) Ice.",
        "CLAIM[c3]:",
        "CLAIM[c0]: Ice.",
        "CLAIM[c1234567890]: Ice.",
        "CLAIM: Ice.",
        "RELATION: c2 does not support c1",
        "RELATION: c2 resembles c1",
        "RELATION: c2 supports c2",
        "RELATION: c2 supports c1 because of ice",
        "2 supports 1",
    ],
)
def test_a_line_that_says_nothing_in_the_grammar_is_unparsed(text: str) -> None:
    parsed = parse(f"CLAIM[c1]: x\n{text}")
    assert parsed.lines == (Claim("c1", "x"),)
    assert parsed.unparsed == (text,)
    assert not parsed.well_formed


def test_a_text_is_kept_verbatim() -> None:
    text = "(Document 3): CLAIM[c2]:  **x** - `y`\t\u2028 z: RELATION: c2 supports c1"
    assert parse(f"CLAIM[c1]: {text}").hypothesis == text


def test_forgiven_departures_carry_their_line_number() -> None:
    parsed = parse("\n\nCLAIM[c1]: x\n\n```\nclaim[c2] (Document 7): y\r\nCLAIM[c2] (Document 7): y\n```\n")
    assert parsed.lines == (Claim("c1", "x"), Claim("c2", "y", 7))
    assert parsed.forgiven == (
        Forgiven(4, "blank line"),
        Forgiven(5, "code fence"),
        Forgiven(6, "case"),
        Forgiven(6, "carriage return"),
        Forgiven(7, "line said before"),
        Forgiven(8, "code fence"),
    )
    assert parsed.unparsed == ()


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("CLAIM[c2] (Document 7): y\nCLAIM[c1]: x", Forgiven(1, "first line is not CLAIM[c1]")),
        ("CLAIM[c1]: x\nCLAIM[c1]: y", Forgiven(2, "second claim c1")),
        ("CLAIM[c1]: x\nRELATION: c9 supports c1", Forgiven(2, "relation names c9, which no line states")),
        ("CLAIM[c1] (Document 7): x", Forgiven(1, "document reference on c1")),
    ],
)
def test_disorder_among_lines_is_forgiven_and_named(text: str, note: Forgiven) -> None:
    assert parse(text).forgiven == (note,)


def test_whitespace_around_the_whole_text_is_no_departure() -> None:
    assert parse(f" \n{GOLD_TEXT} \n\n").well_formed


def test_an_empty_text_says_nothing_and_is_not_well_formed() -> None:
    assert parse(" \n").lines == ()
    assert not parse(" \n").well_formed


def test_the_first_c1_line_is_the_hypothesis_and_the_others_are_no_evidence() -> None:
    parsed = parse("CLAIM[c1]: x\nCLAIM[c1]: y\nCLAIM[c2] (Document 7): z")
    assert parsed.hypothesis == "x"
    assert parsed.evidence == (Claim("c2", "z", 7),)


@pytest.mark.parametrize("text", ["", " ", " x", "x ", "x\ny", "x\ry", "x\u2028"])
def test_a_claim_refuses_text_that_a_line_cannot_carry(text: str) -> None:
    with pytest.raises(ValueError, match="text is one line"):
        Claim("c1", text)


@pytest.mark.parametrize("claim_id", ["", "1", "c", "c0", "c01", "C1", "c1 ", "c1\n", "c١", "c1234567890"])
def test_a_claim_and_a_relation_refuse_an_id_that_the_grammar_does_not_have(claim_id: str) -> None:
    with pytest.raises(ValueError, match="claim id"):
        Claim(claim_id, "x")
    with pytest.raises(ValueError, match="claim id"):
        Relation("c1", "supports", claim_id)


@pytest.mark.parametrize("doc_id", [-1, 10**18])
def test_a_claim_refuses_a_document_id_out_of_range(doc_id: int) -> None:
    with pytest.raises(ValueError, match="document id"):
        Claim("c2", "x", doc_id)


def test_a_relation_refuses_one_claim_twice_and_other_kinds() -> None:
    with pytest.raises(ValueError, match="between two claims"):
        Relation("c2", "supports", "c2")
    with pytest.raises(ValueError, match="contrasts"):
        Relation("c2", "contrasts", "c1")  # type: ignore[arg-type]


def test_a_claim_set_refuses_a_line_twice() -> None:
    with pytest.raises(ValueError, match="no line twice"):
        ClaimSet((Claim("c1", "x"), Claim("c1", "x")))


def test_spans_cover_the_lines_without_their_breaks() -> None:
    start_c2, start_c3 = GOLD_TEXT.index("CLAIM[c2]"), GOLD_TEXT.index("CLAIM[c3]")
    assert c1_span(GOLD_TEXT) == (0, start_c2 - 1)
    assert evidence_spans(GOLD_TEXT) == (
        (start_c2, GOLD_TEXT.index("\nRELATION: c2")),
        (start_c3, GOLD_TEXT.index("\nRELATION: c3")),
    )


def test_spans_find_forgiven_lines_and_stop_before_a_carriage_return() -> None:
    text = "claim[C1] - x\r\nClaim c2: y\r\n"
    assert c1_span(text) == (0, 13)
    assert evidence_spans(text) == ((15, 26),)


def test_without_claim_lines_there_are_no_spans() -> None:
    assert c1_span("Water is wet.") is None
    assert evidence_spans("Water is wet.") == ()
