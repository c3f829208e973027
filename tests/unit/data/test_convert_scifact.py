from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from support.compressed import compress

from thinker.data.convert import convert_scifact
from thinker.errors import ConversionError

CORPUS = {"doc_id": 7, "title": "Eis", "abstract": ["Eis ist kält.", " Eis schwimmt. "]}
WITH = {
    "id": 1,
    "claim": "Eis ist wärm.",
    "evidence": {"7": [{"sentences": [1], "label": "CONTRADICT"}]},
    "cited_doc_ids": [7],
}
WITHOUT = {"id": 2, "claim": "Eis ist gelb.", "evidence": {}, "cited_doc_ids": [7]}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """(claims, corpus, out)."""
    claims, corpus = tmp_path / "claims.jsonl", tmp_path / "corpus.jsonl"
    claims.write_text("".join(json.dumps(row) + "\n" for row in (WITH, WITHOUT)), encoding="utf-8")
    corpus.write_text(json.dumps(CORPUS), encoding="utf-8")
    return claims, corpus, tmp_path / "out" / "train.jsonl"


def test_rows_hold_prompt_completion_and_metadata(files: tuple[Path, Path, Path]) -> None:
    convert_scifact(*files)
    rows = [json.loads(line) for line in files[2].read_text(encoding="utf-8").splitlines()]
    assert rows[0]["completion"] == (
        "CLAIM[c1]: Eis ist wärm.\nCLAIM[c2] (Document 7): Eis schwimmt.\nRELATION: c2 refutes c1"
    )
    assert rows[1]["completion"] == "CLAIM[c1]: Eis ist gelb."
    assert rows[0]["prompt"].endswith(
        "\n\nDocument 7: Eis\nEis ist kält.\nEis schwimmt.\n\nHypothesis: Eis ist wärm.\n"
    )
    assert rows[0]["metadata"] == {
        "claim_id": 1,
        "doc_ids": [7],
        "source": "allenai/scifact",
        "license": "CC-BY-4.0 AND ODC-By-1.0",
    }


def test_the_file_is_utf8_without_escapes_and_with_plain_newlines(files: tuple[Path, Path, Path]) -> None:
    convert_scifact(*files)
    content = files[2].read_bytes()
    assert "kält".encode() in content
    assert b"\r" not in content
    assert content.endswith(b"}\n")
    assert content.count(b"\n") == 2


def test_the_report_counts_rows_and_hashes_the_file(files: tuple[Path, Path, Path]) -> None:
    report = convert_scifact(*files)
    assert (report.rows, report.dropped) == (2, 0)
    assert report.by_label == {"supports": 0, "refutes": 1, "none": 1}
    assert report.sha256 == hashlib.sha256(files[2].read_bytes()).hexdigest()


def test_claims_without_evidence_are_dropped_on_demand(files: tuple[Path, Path, Path]) -> None:
    report = convert_scifact(*files, no_evidence="drop")
    assert (report.rows, report.dropped) == (1, 1)
    assert report.by_label == {"supports": 0, "refutes": 1, "none": 0}
    assert len(files[2].read_text(encoding="utf-8").splitlines()) == 1


def test_dropping_every_claim_is_refused(files: tuple[Path, Path, Path]) -> None:
    files[0].write_text(json.dumps(WITHOUT), encoding="utf-8")
    with pytest.raises(ConversionError, match="leaves no rows"):
        convert_scifact(*files, no_evidence="drop")
    assert not files[2].exists()


def test_claims_without_gold_labels_are_refused_with_their_place(files: tuple[Path, Path, Path]) -> None:
    files[0].write_text(json.dumps({"id": 1, "claim": "Eis."}), encoding="utf-8")
    with pytest.raises(ConversionError, match=r"claims\.jsonl:1: no `evidence`: claims without gold labels"):
        convert_scifact(*files)


def test_compressed_inputs_give_the_same_rows(files: tuple[Path, Path, Path]) -> None:
    plain = convert_scifact(*files)
    packed = [path.with_name(f"{path.name}.gz") for path in files[:2]]
    for path, target in zip(files, packed, strict=False):
        target.write_bytes(compress(path.read_bytes(), ".gz"))
    assert convert_scifact(*packed, files[2]) == plain


def test_plain_rows_are_not_written_under_a_compressed_name(files: tuple[Path, Path, Path]) -> None:
    with pytest.raises(ConversionError, match=r"train\.jsonl\.GZ: rows are written as plain text; take \.GZ off"):
        convert_scifact(files[0], files[1], files[2].with_suffix(".jsonl.GZ"))


@pytest.mark.parametrize("index", [0, 1])
def test_an_input_is_not_overwritten(files: tuple[Path, Path, Path], index: int) -> None:
    before = files[index].read_bytes()
    with pytest.raises(ConversionError, match="overwrite its own input"):
        convert_scifact(files[0], files[1], files[index])
    assert files[index].read_bytes() == before


def test_a_dataset_is_replaced_whole(files: tuple[Path, Path, Path]) -> None:
    files[2].parent.mkdir()
    files[2].write_text("older", encoding="utf-8")
    convert_scifact(*files)
    assert files[2].read_text(encoding="utf-8").startswith("{")
    assert list(files[2].parent.iterdir()) == [files[2]]


def test_a_failed_rename_leaves_the_older_dataset_and_no_temporary_file(
    files: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_rename(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    files[2].parent.mkdir()
    files[2].write_text("older", encoding="utf-8")
    monkeypatch.setattr(Path, "replace", no_rename)
    with pytest.raises(ConversionError, match=r"train\.jsonl: cannot be written: No space left on device"):
        convert_scifact(*files)
    assert files[2].read_text(encoding="utf-8") == "older"
    assert list(files[2].parent.iterdir()) == [files[2]]


def test_an_output_folder_that_cannot_be_made_is_an_error(files: tuple[Path, Path, Path]) -> None:
    files[2].parent.write_text("a file", encoding="utf-8")
    with pytest.raises(ConversionError, match="cannot be written"):
        convert_scifact(*files)
