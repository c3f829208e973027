"""Choose the example's claims and documents from the full SciFact files, and convert the training claims.

    THINKER_SCIFACT_DIR=path/to/scifact python make_sample.py

Only the train file is read: dev stays untouched for the figures that are reported. The choice depends on the files'
contents alone, so the same files always give the same sample. Rows are copied byte for byte.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from thinker.data.convert import convert_scifact

Label = Literal["SUPPORT", "CONTRADICT", "NONE"]

TRAIN_QUOTA: Mapping[Label, int] = {"SUPPORT": 24, "CONTRADICT": 16, "NONE": 24}
HELDOUT_QUOTA: Mapping[Label, int] = {"SUPPORT": 9, "CONTRADICT": 6, "NONE": 9}

# Each token costs time where a model trains on two CPU cores.
MAX_CHARACTERS = 1250
MAX_EVIDENCE_SENTENCES = 3


@dataclass(frozen=True)
class Claim:
    """One claim of the train file: its line as it stands there, and what the choice goes by."""

    line: bytes
    claim_id: int
    label: Label
    doc_ids: tuple[int, ...]
    characters: int
    evidence_sentences: int


def main() -> None:
    """Write claims, corpus, converted rows and checksums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--source",
        type=Path,
        default=os.environ.get("THINKER_SCIFACT_DIR"),
        help="folder with claims_train.jsonl and corpus.jsonl (default: $THINKER_SCIFACT_DIR)",
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data", help="folder to write to")
    arguments = parser.parse_args()
    if arguments.source is None:
        parser.error("say where SciFact is: --source, or the environment variable THINKER_SCIFACT_DIR")
    make_sample(arguments.source, arguments.out)


def make_sample(source: Path, out: Path) -> None:
    """Write the sample of the SciFact files in `source` to the folder `out`."""
    documents = read_documents(source / "corpus.jsonl")
    claims = read_claims(source / "claims_train.jsonl", documents)
    held_out, train = choose(claims)

    out.mkdir(parents=True, exist_ok=True)
    needed = {doc_id for claim in (*train, *held_out) for doc_id in claim.doc_ids}
    write_lines(out / "claims_train.jsonl", (claim.line for claim in claims if claim in train))
    write_lines(out / "claims_heldout.jsonl", (claim.line for claim in claims if claim in held_out))
    write_lines(out / "corpus.jsonl", (line for doc_id, (line, _) in documents.items() if doc_id in needed))
    convert_scifact(out / "claims_train.jsonl", out / "corpus.jsonl", out / "train.jsonl")
    write_checksums(out)


def read_documents(path: Path) -> dict[int, tuple[bytes, int]]:
    """Each document's line and its length in characters (title and stripped sentences), by id, in file order."""
    documents: dict[int, tuple[bytes, int]] = {}
    for line in path.read_bytes().splitlines():
        document = json.loads(line)
        text = [document["title"], *(sentence.strip() for sentence in document["abstract"])]
        documents[document["doc_id"]] = (line, sum(map(len, text)))
    return documents


def read_claims(path: Path, documents: Mapping[int, tuple[bytes, int]]) -> list[Claim]:
    """The claims of a SciFact file, in file order."""
    return [_claim(line, json.loads(line), documents) for line in path.read_bytes().splitlines()]


def _claim(line: bytes, row: Mapping[str, Any], documents: Mapping[int, tuple[bytes, int]]) -> Claim:
    rationales = [(doc_id, rationale) for doc_id, group in row["evidence"].items() for rationale in group]
    labels: set[Label] = {rationale["label"] for _, rationale in rationales}
    return Claim(
        line=line,
        claim_id=row["id"],
        label=labels.pop() if labels else "NONE",
        doc_ids=tuple(row["cited_doc_ids"]),
        characters=len(row["claim"]) + sum(documents[doc_id][1] for doc_id in row["cited_doc_ids"]),
        evidence_sentences=len({(doc_id, index) for doc_id, each in rationales for index in each["sentences"]}),
    )


def choose(claims: Iterable[Claim]) -> tuple[list[Claim], list[Claim]]:
    """The held-out claims and the training claims, out of the short ones.

    Nothing links the two: a held-out claim's documents are cited by no other claim of the file at all. SciFact has
    pairs of claims that say the opposite of each other about one document; a model could answer one from the other.
    """
    claims = list(claims)
    citations = Counter(doc_id for claim in claims for doc_id in claim.doc_ids)
    short = [
        claim
        for claim in sorted(claims, key=_shuffle_key)
        if claim.characters <= MAX_CHARACTERS and claim.evidence_sentences <= MAX_EVIDENCE_SENTENCES
    ]
    alone = [claim for claim in short if all(citations[doc_id] == 1 for doc_id in claim.doc_ids)]
    held_out = _fill(alone, HELDOUT_QUOTA)
    return held_out, _fill([claim for claim in short if claim not in held_out], TRAIN_QUOTA)


def _shuffle_key(claim: Claim) -> bytes:
    """An order that has nothing to do with the claims' contents and is the same everywhere."""
    return hashlib.sha256(str(claim.claim_id).encode()).digest()


def _fill(claims: Iterable[Claim], quota: Mapping[Label, int]) -> list[Claim]:
    """The first claims of each label, as many as `quota` says.

    Raises:
        ValueError: there are too few.
    """
    chosen: list[Claim] = []
    missing = Counter(quota)
    for claim in claims:
        if missing[claim.label] > 0:
            missing[claim.label] -= 1
            chosen.append(claim)
    if missing.total():
        raise ValueError(f"too few short claims: {dict(+missing)} more wanted")
    return chosen


def write_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Write `lines`, each with a newline."""
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def write_checksums(folder: Path) -> None:
    """Write SHA256SUMS over the folder's JSONL files, in the format of `sha256sum`."""
    files = sorted(folder.glob("*.jsonl"))
    sums = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    (folder / "SHA256SUMS").write_bytes(sums.encode())


if __name__ == "__main__":
    main()
