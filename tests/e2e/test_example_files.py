"""The files of examples/scifact are what its README says they are."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from thinker.config import load_experiment
from thinker.data.convert import convert_scifact
from thinker.tasks.scifact_claims import ScifactClaims

EXAMPLE = Path(__file__).parents[2] / "examples" / "scifact"
DATA = EXAMPLE / "data"
FILES = ("claims_heldout.jsonl", "claims_train.jsonl", "corpus.jsonl", "train.jsonl")


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def test_the_sample_is_the_one_with_the_checksums() -> None:
    lines = (DATA / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    stated = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert stated == {name: hashlib.sha256((DATA / name).read_bytes()).hexdigest() for name in FILES}


def test_the_training_claims_convert_to_the_same_bytes(tmp_path: Path) -> None:
    convert_scifact(DATA / "claims_train.jsonl", DATA / "corpus.jsonl", tmp_path / "train.jsonl")
    assert (tmp_path / "train.jsonl").read_bytes() == (DATA / "train.jsonl").read_bytes()


def test_the_sample_is_small_enough_for_the_recipe() -> None:
    longest = max(len(row["prompt"]) for row in rows("train.jsonl"))
    assert len(rows("train.jsonl")) == 64
    assert longest <= 1600


def test_held_out_and_training_claims_share_no_claim_and_no_document() -> None:
    train, held_out = rows("claims_train.jsonl"), rows("claims_heldout.jsonl")
    for key in (lambda claim: {claim["id"]}, lambda claim: {claim["claim"]}, lambda claim: set(claim["cited_doc_ids"])):
        assert not set().union(*map(key, train)) & set().union(*map(key, held_out))


@pytest.mark.scifact
def test_the_sample_is_made_again_with_the_same_bytes(scifact_dir: Path, tmp_path: Path) -> None:
    script("make_sample").make_sample(scifact_dir, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        name: (DATA / name).read_bytes() for name in (*FILES, "SHA256SUMS")
    }


@pytest.mark.scifact
def test_rows_are_the_original_bytes_of_the_train_file(scifact_dir: Path) -> None:
    original = (scifact_dir / "claims_train.jsonl").read_bytes().splitlines()
    for name in ("claims_train.jsonl", "claims_heldout.jsonl"):
        assert set((DATA / name).read_bytes().splitlines()) <= set(original)


def test_the_configuration_loads(tmp_path: Path) -> None:
    model = tmp_path / "stand-in.gguf"
    model.touch()
    experiment = load_experiment(EXAMPLE / "pipeline.yaml", command="run", overrides=[f"model.name={model}"])
    assert experiment.dataset.paths == (DATA / "train.jsonl",)
    assert experiment.base_model == str(model)
    assert experiment.checkpoint_dir == EXAMPLE / "checkpoints" / "smollm2-scifact"
    assert not experiment.evaluate_base_only


def test_the_evaluation_asks_about_the_held_out_claims(tmp_path: Path) -> None:
    model = tmp_path / "stand-in.gguf"
    model.touch()
    experiment = load_experiment(EXAMPLE / "pipeline.yaml", command="eval", overrides=[f"model.name={model}"])
    assert experiment.pipeline.evaluation is not None
    records = ScifactClaims().records(experiment.pipeline.evaluation, held_out=[])
    assert [record.record_id for record in records] == [str(claim["id"]) for claim in rows("claims_heldout.jsonl")]


def test_the_data_tests_pass_as_a_suite_of_their_own() -> None:
    finished = run_pytest(EXAMPLE / "tests")
    assert finished.returncode == 0, finished.stdout


@pytest.mark.parametrize(
    ("what", "wrong", "failing"),
    [
        (
            "evidence",
            "CLAIM[c2] (Document 1): Water is wet.",
            "test_evidence_is_word_for_word_in_the_document_it_cites",
        ),
        ("hypothesis", "CLAIM[c1]: Water is wet.", "test_c1_is_the_claim_word_for_word"),
    ],
)
def test_the_data_tests_notice_a_row_that_says_something_else(
    tmp_path: Path, what: str, wrong: str, failing: str
) -> None:
    copy = copy_of_the_example(tmp_path)
    lines = (copy / "data" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    start = "CLAIM[c1]" if what == "hypothesis" else "CLAIM[c2]"
    number, row = next((n, row) for n, row in enumerate(map(json.loads, lines)) if start in row["completion"])
    completion = [wrong if line.startswith(start) else line for line in row["completion"].split("\n")]
    lines[number] = json.dumps(row | {"completion": "\n".join(completion)})
    (copy / "data" / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

    finished = run_pytest(copy / "tests")

    assert finished.returncode == 1
    assert f"FAILED {(copy / 'tests' / 'test_sample_rows.py').name}::{failing}" in finished.stdout


def test_the_data_tests_notice_a_held_out_claim_among_the_training_rows(tmp_path: Path) -> None:
    copy = copy_of_the_example(tmp_path)
    leaked = copy / "data" / "leaked.jsonl"
    convert_scifact(copy / "data" / "claims_heldout.jsonl", copy / "data" / "corpus.jsonl", leaked)
    with (copy / "data" / "train.jsonl").open("ab") as file:
        file.write(leaked.read_bytes().splitlines(keepends=True)[0])

    finished = run_pytest(copy / "tests" / "test_sample_split.py")

    assert finished.returncode == 1
    for failing in ("claim_is_trained_on", "claim_is_stated", "document_is_trained_on", "sentence_is_read"):
        assert failing in finished.stdout


def test_a_model_file_that_is_not_the_expected_one_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "model.gguf"
    other.write_bytes(b"GGUF")
    finished = subprocess.run(
        [sys.executable, str(EXAMPLE / "fetch_model.py"), str(other)], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 1
    assert str(other) in finished.stderr
    assert script("fetch_model").SHA256 in finished.stderr
    assert other.read_bytes() == b"GGUF"


def copy_of_the_example(folder: Path) -> Path:
    """Data and tests of the example, without models, runs and checkpoints, which may be large."""
    for part in ("data", "tests"):
        (folder / part).mkdir()
        for file in (EXAMPLE / part).iterdir():
            if file.is_file():
                (folder / part / file.name).write_bytes(file.read_bytes())
    return folder


def run_pytest(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]
    return subprocess.run(
        command, cwd=path if path.is_dir() else path.parent, capture_output=True, text=True, check=False
    )


def script(name: str) -> ModuleType:
    """One of the example's scripts, imported under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
