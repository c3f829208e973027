"""The real SciFact rows through the gate: clean by themselves, and what train and dev have in common by its ids."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.project import Project

from thinker.data.convert import convert_scifact
from thinker.validation.problems import Problem

pytestmark = pytest.mark.scifact

PIPELINE = """\
task: scifact_claims
tests: {enabled: false}
data_validation:
  path: rows.jsonl
evaluation:
  base_model: model
  claims_file: CLAIMS
  corpus_file: CORPUS
runs_dir: runs
"""


@pytest.fixture
def scifact(scifact_dir: Path, tmp_path: Path) -> Project:
    """Train rows and an evaluation of the dev claims."""
    project = Project(tmp_path)
    corpus, claims = scifact_dir / "corpus.jsonl", scifact_dir / "claims_dev.jsonl"
    convert_scifact(scifact_dir / "claims_train.jsonl", corpus, tmp_path / "rows.jsonl")
    project.write("pipeline.yaml", PIPELINE.replace("CLAIMS", claims.as_posix()).replace("CORPUS", corpus.as_posix()))
    (tmp_path / "model").mkdir()
    return project


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def problems(project: Project) -> list[Problem]:
    (path,) = (project.root / "runs").glob("*/dataset_problems.jsonl")
    return [Problem(**problem) for problem in read(path)]


@pytest.mark.parametrize(("split", "rows", "twice"), [("train", 809, 1), ("dev", 300, 0)])
def test_converted_rows_are_clean(scifact: Project, scifact_dir: Path, split: str, rows: int, twice: int) -> None:
    claims = scifact_dir / f"claims_{split}.jsonl"
    convert_scifact(claims, scifact_dir / "corpus.jsonl", scifact.root / "rows.jsonl")
    text = (scifact.root / "pipeline.yaml").read_text(encoding="utf-8")
    off = ", ".join(f"THK-DATA-{code}: off" for code in ("090", "091", "092", "093"))
    scifact.write("pipeline.yaml", text.replace("rows.jsonl\n", f"rows.jsonl\n  checks: {{{off}}}\n"))
    assert scifact.run_here("validate", "-q") == 0
    dataset = scifact.record()["validation"]["dataset"]
    assert (dataset["rows"], dataset["errors"], dataset["warnings"]) == (rows, 0, twice)
    if twice:  # claims 85 and 86 say the same of the same documents
        (problem,) = problems(scifact)
        assert problem.message == "the same example as rows.jsonl:57"


def test_what_train_and_dev_have_in_common_is_warned_of_by_id(scifact: Project, scifact_dir: Path) -> None:
    assert scifact.run_here("validate", "-q") == 0
    found = problems(scifact)
    assert {each.level for each in found} == {"warn"}
    train, dev = (read(scifact_dir / f"claims_{split}.jsonl") for split in ("train", "dev"))

    documents = [re.search(r"document (\d+)", each.message) for each in found if each.code == "THK-DATA-093"]
    shared = {doc for claim in train for doc in claim["cited_doc_ids"]} & {
        doc for claim in dev for doc in claim["cited_doc_ids"]
    }
    assert len(shared) == 181
    assert sorted(int(match[1]) for match in documents if match) == sorted(shared)

    evaluated = {str(claim["id"]): claim["claim"] for claim in dev}
    leaks = [each for each in found if each.code == "THK-DATA-090"]
    assert [(train[each.line - 1]["id"], each.message.split()[4]) for each in leaks if each.line] == [
        (871, "870"),
        (1291, "1292"),
    ]
    near = {}
    for each in found:
        if each.code == "THK-DATA-092":
            match = re.match(r"nearly record (\d+), '.*' \(similarity (\d\.\d\d)\)", each.message)
            assert match, each.message
            assert match[1] in evaluated
            near[train[(each.line or 0) - 1]["id"], int(match[1])] = float(match[2])
    assert len(near) == 111
    assert near[17, 13] == 0.8  # 53% and 5% of perinatal mortality
    assert near[1269, 1270] > 0.5  # female and male prisoners, changed over
    assert near[642, 644] == 0.5  # insulin decreases and increases
