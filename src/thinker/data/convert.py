"""From a raw corpus to the dataset: `thinker convert`."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from thinker.claim_schema import render
from thinker.data.compression import COMPRESSED_SUFFIXES
from thinker.data.scifact import load_scifact
from thinker.errors import ConversionError, DataError
from thinker.evaluation.scifact_metrics import VERDICTS, Verdict
from thinker.files import write_atomically
from thinker.tasks.scifact_claims import build_completion, build_gold
from thinker.tasks.scifact_prompt import build_prompt

SOURCE: Final = "allenai/scifact"
# SPDX; the claims and the abstracts, in this order.
LICENSE: Final = "CC-BY-4.0 AND ODC-By-1.0"


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion wrote.

    Attributes:
        rows: rows in the dataset.
        dropped: claims left out because nothing cited decides them.
        sha256: of the dataset.
        by_label: rows by gold verdict (`supports`, `refutes`, `none`).
    """

    rows: int
    dropped: int
    sha256: str
    by_label: dict[Verdict, int]


def convert_scifact(
    claims: Path, corpus: Path, out: Path, *, no_evidence: Literal["keep", "drop"] = "keep"
) -> ConversionReport:
    """Write SciFact's `claims` and `corpus` as a dataset of `prompt`, `completion` and `metadata`, a row a claim.

    Args:
        claims: a claims file with gold labels.
        corpus: the documents that the claims cite.
        out: the JSONL to write; its folder is made if need be. It is whole or untouched, also after a crash.
        no_evidence: whether claims without evidence, whose completion is c1 alone, are kept.

    Raises:
        ConversionError: an input is malformed (names file and line), no row is left, or `out` cannot be written.
    """
    if out.resolve() in (claims.resolve(), corpus.resolve()):
        raise ConversionError(f"{out}: the dataset would overwrite its own input; choose another --out")
    if out.suffix.lower() in COMPRESSED_SUFFIXES:
        raise ConversionError(f"{out}: rows are written as plain text; take {out.suffix} off the file's name")
    try:
        loaded, documents = load_scifact(claims, corpus)
    except DataError as error:
        raise ConversionError(str(error)) from error
    kept = [claim for claim in loaded if claim.evidence or no_evidence == "keep"]
    if not kept:
        raise ConversionError(f"{claims}: no claim in it has evidence, so dropping those without leaves no rows")
    rows = [
        {
            "prompt": build_prompt(claim, documents),
            "completion": render(build_completion(claim, documents)),
            "metadata": {
                "claim_id": claim.id,
                "doc_ids": list(claim.cited_doc_ids),
                "source": SOURCE,
                "license": LICENSE,
            },
        }
        for claim in kept
    ]
    sha256 = _write_rows(out, rows)
    verdicts = Counter(build_gold(claim, documents).verdict for claim in kept)
    by_label = {verdict: verdicts[verdict] for verdict in VERDICTS}
    return ConversionReport(len(rows), len(loaded) - len(kept), sha256, by_label)


def _write_rows(out: Path, rows: Iterable[Mapping[str, object]]) -> str:
    """Write JSONL in one step. Returns its SHA-256."""
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, content)
    except OSError as error:
        raise ConversionError(f"{out}: cannot be written: {error.strerror}") from error
    return hashlib.sha256(content.encode()).hexdigest()
