"""The prompt of task `scifact_claims`: written for converter and evaluator alike, and read back by the gate."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from thinker.data.scifact import Corpus, Document, ScifactClaim

INSTRUCTION: Final = """\
State the hypothesis, then every sentence of the documents that supports or refutes it, copied word for word:
CLAIM[c1]: <hypothesis>
CLAIM[c2] (Document <id>): <sentence>
RELATION: c2 supports c1 | c2 refutes c1
"""

_HYPOTHESIS: Final = "Hypothesis: "
_TITLE: Final = re.compile(r"Document (0|[1-9][0-9]{0,17}):(?: (\S.*))?")
_NEXT: Final = "'Document <id>: <title>' or 'Hypothesis: <claim>' after a blank line"
_SHOWN_CHARACTERS: Final = 40


@dataclass(frozen=True)
class ScifactPrompt:
    """What a prompt holds; `str` writes it.

    Attributes:
        documents: in order, none twice; their blank sentences are not written.
        hypothesis: on one line.
    """

    documents: tuple[Document, ...]
    hypothesis: str

    def __str__(self) -> str:
        documents = "\n".join(map(_render_document, self.documents))
        return f"{INSTRUCTION}\n{documents}\n{_HYPOTHESIS}{self.hypothesis}\n"


def build_prompt(claim: ScifactClaim, corpus: Corpus) -> str:
    """The prompt of `claim`, for converter and evaluator alike: instruction, cited documents, hypothesis.

    A document is its id and title, then a line for each sentence that is not blank. The prompt ends with a newline, so
    that the completion's first token starts a line.
    """
    return str(ScifactPrompt(tuple(corpus[doc_id] for doc_id in claim.cited_doc_ids), claim.claim))


def read_prompt(text: str) -> ScifactPrompt:
    """What `text` was built from; `str` of it is `text` again.

    There is one way to read a prompt, whatever its sentences say: none is blank, so that what follows a blank line is
    a title or the hypothesis, and what follows another line is neither.

    Raises:
        ValueError: `build_prompt` writes no such text; says where it first differs.
    """
    if "\r" in text:
        raise ValueError("there is a carriage return; lines end with a newline alone")
    lines = _Lines(text)
    for wanted in INSTRUCTION.split("\n"):
        lines.take(wanted)
    documents: dict[int, Document] = {}
    while title := _TITLE.fullmatch(lines.next or ""):
        document = _document(title, lines)
        if document.doc_id in documents:
            raise ValueError(f"document {document.doc_id} is there twice")
        documents[document.doc_id] = document
    if not documents and lines.next:
        raise lines.error(_NEXT)
    if not documents:
        lines.take("")
    if not (lines.next or "").startswith(_HYPOTHESIS):
        raise lines.error(_NEXT)
    hypothesis = lines.take().removeprefix(_HYPOTHESIS)
    if hypothesis != hypothesis.strip():
        raise ValueError("the hypothesis begins with white space")
    if lines.next is None:
        raise ValueError("there is no newline after the hypothesis, so that the completion would begin in its line")
    lines.take("")
    if lines.next is not None:
        raise lines.error("the end")
    return ScifactPrompt(tuple(documents.values()), hypothesis)


class _Lines:
    """The lines of a text, taken one after the other.

    Attributes:
        next: the line to be taken next; None after the last.
    """

    def __init__(self, text: str) -> None:
        self._rest = iter(text.split("\n"))
        self._number = 1
        self.next = next(self._rest, None)

    def take(self, wanted: str | None = None) -> str:
        """The next line.

        Raises:
            ValueError: it is not `wanted`, or there is none, or it has white space at an end.
        """
        line = self.next
        if line is None or (wanted is not None and line != wanted):
            pairs = zip(line or "", wanted or "", strict=False)
            same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            raise self.error("another line" if wanted is None else _shown(wanted, same), same)
        if line != line.strip():
            raise ValueError(f"line {self._number} has white space at an end")
        self.next = next(self._rest, None)
        self._number += 1
        return line

    def error(self, wanted: str, same: int = 0) -> ValueError:
        """What to raise where the next line is not `wanted`, or only in its first `same` characters."""
        found = "the prompt ends" if self.next is None else f"line {self._number} is {_shown(self.next, same)}"
        return ValueError(f"{found} where evaluation has {wanted}")


def _document(title: re.Match[str], lines: _Lines) -> Document:
    """The document that begins with the next line, `title`; takes the blank line after it too."""
    lines.take()
    sentences = []
    while lines.next:
        sentences.append(lines.take())
    lines.take("")
    return Document(int(title[1]), title[2] or "", tuple(sentences))


def _render_document(document: Document) -> str:
    title = f"Document {document.doc_id}: {document.title}".rstrip()
    return "".join(f"{line}\n" for line in (title, *filter(None, document.sentences)))


def _shown(line: str, at: int = 0) -> str:
    """`line` around its character `at`."""
    if not line:
        return "a blank line"
    start = max(0, at - _SHOWN_CHARACTERS // 2)
    end = start + _SHOWN_CHARACTERS
    return f"'{'…' if start else ''}{line[start:end]}{'…' if end < len(line) else ''}'"
