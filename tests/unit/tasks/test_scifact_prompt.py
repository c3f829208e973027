"""What the prompt builder writes, the prompt reader reads back; what it never writes, the reader refuses."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinker.data.scifact import Corpus, Document, ScifactClaim
from thinker.tasks.scifact_prompt import INSTRUCTION, ScifactPrompt, build_prompt, read_prompt

PROMPT = f"""\
{INSTRUCTION}
Document 8: Fire
Fire is hot.

Document 7: Ice
Ice is cold.
Ice floats.

Hypothesis: Ice is light.
"""
# Text as `thinker.data.scifact` gives it: on one line, stripped.
ANYTHING = st.text().map(lambda text: " ".join(text.replace("\r", "\n").split("\n")).strip())
LOOKS_LIKE_A_PART = st.sampled_from(
    ["Document 5: foo", "Document 5:", "Hypothesis: bar", "Hypothesis:", *INSTRUCTION.splitlines(), "CLAIM[c1]: x"]
)
LINES = ANYTHING | LOOKS_LIKE_A_PART | st.text(string.ascii_letters + " :\u2028\x0b\x85", max_size=9).map(str.strip)
DOCUMENTS = st.builds(Document, st.integers(0, 10**18 - 1), LINES, st.lists(LINES, max_size=4).map(tuple))


def test_a_prompt_is_read_as_its_documents_and_hypothesis() -> None:
    documents = (Document(8, "Fire", ("Fire is hot.",)), Document(7, "Ice", ("Ice is cold.", "Ice floats.")))
    assert read_prompt(PROMPT) == ScifactPrompt(documents, "Ice is light.")


@given(st.lists(DOCUMENTS, max_size=4, unique_by=lambda document: document.doc_id), LINES.filter(bool))
def test_reading_undoes_building_whatever_the_sentences_look_like(documents: list[Document], hypothesis: str) -> None:
    claim = ScifactClaim(1, hypothesis, {}, tuple(document.doc_id for document in documents))
    prompt = build_prompt(claim, Corpus({document.doc_id: document for document in documents}))
    read = read_prompt(prompt)
    assert read.hypothesis == hypothesis
    assert read.documents == tuple(
        Document(each.doc_id, each.title, tuple(filter(None, each.sentences))) for each in documents
    )
    assert str(read) == prompt


@given(st.data())
def test_a_prompt_that_can_be_read_is_one_that_is_built(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(PROMPT)))
    end = data.draw(st.integers(start, min(len(PROMPT), start + 3)))
    altered = PROMPT[:start] + data.draw(st.text("\n\r :x7D", max_size=3)) + PROMPT[end:]
    try:
        read = read_prompt(altered)
    except ValueError:
        return
    documents = {document.doc_id: document for document in read.documents}
    assert build_prompt(ScifactClaim(1, read.hypothesis, {}, tuple(documents)), Corpus(documents)) == altered


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("State the", "state the", "line 1 is 'state the hypothesis.*' where evaluation has 'State the hypothesis"),
        (
            "copied word for word:",
            "copied:",
            "line 1 is '….*copied:' where evaluation has '….*, copied word for word:'",
        ),
        (INSTRUCTION, "", "line 1 is a blank line where evaluation has 'State the"),
        (
            "Document 8: Fire\n",
            "Doc 8: Fire\n",
            "line 6 is 'Doc 8: Fire' where evaluation has 'Document <id>: <title>'",
        ),
        ("Document 7:", "Document 08:", "line 9 is 'Document 08: Ice' where"),
        ("Document 7:", "Document 8:", "document 8 is there twice"),
        ("\n\nDocument 8", "\nDocument 8", "line 5 is 'Document 8: Fire' where evaluation has a blank line"),
        ("\n\nHypothesis", "\n\n\nHypothesis", "line 13 is a blank line where evaluation has 'Document <id>"),
        (
            "\n\nHypothesis",
            "\nHypothesis",
            "the prompt ends where evaluation has .*'Hypothesis: <claim>' after a blank",
        ),
        ("Hypothesis: ", "Claim: ", "line 13 is 'Claim: Ice is light.' where evaluation has 'Document <id>"),
        ("Hypothesis: ", "Hypothesis:  ", "the hypothesis begins with white space"),
        ("is light.\n", "is light.", "no newline after the hypothesis"),
        ("is light.\n", "is light.\n\n", "line 15 is a blank line where evaluation has the end"),
        ("is light.\n", "is light.\nAnswer:", "line 14 is 'Answer:' where evaluation has a blank line"),
        ("is cold.\n", "is cold. \n", "line 10 has white space at an end"),
        ("is cold.\n", "is cold.\r\n", "carriage return"),
    ],
)
def test_a_prompt_of_another_form_is_refused_where_it_differs(old: str, new: str, reason: str) -> None:
    assert old in PROMPT
    with pytest.raises(ValueError, match=reason):
        read_prompt(PROMPT.replace(old, new, 1))
