"""The demo as `make demo` runs it: it learns, and says so. Minutes on two cores."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from thinker.runs.schema import record_schema

pytestmark = [pytest.mark.model, pytest.mark.slow]
EXAMPLE = Path(__file__).parents[2] / "examples/scifact"


@pytest.fixture(scope="module")
def record(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("demo")
    settings = [
        f"model.name={smollm2}",
        f"output.checkpoint_dir={folder / 'adapter'}",
        f"pipeline.runs_dir={folder / 'runs'}",
    ]
    options = [part for setting in settings for part in ("--set", setting)]
    variables = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-m", "thinker", "--config", str(EXAMPLE / "pipeline.yaml"), "run", "--json", *options],
        capture_output=True, text=True, check=False, env=variables,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict = json.loads(done.stdout)
    return found


def test_the_loss_of_the_last_quarter_is_below_half_of_the_firsts(record: dict) -> None:
    assert record["training"]["loss_last_quarter"] < 0.5 * record["training"]["loss_first_quarter"]


def test_the_adapter_beats_the_base_model_on_held_out_claims(record: dict) -> None:
    adapter, base = record["evaluation"]["metrics"], record["evaluation"]["base_metrics"]
    for metric in ("c1_exact_match_rate", "schema_valid_rate"):
        assert adapter[metric] > base[metric]


def test_the_record_is_valid_and_complete(record: dict) -> None:
    jsonschema.validate(record, record_schema())
    assert all(record["digests"].values())
    roles = {found["role"] for found in record["inputs"]}
    assert {"pipeline", "recipe", "dataset", "claims_file", "corpus_file"} <= roles
    assert record["training"]["adapter_sha256"]
    assert record["environment"]["versions"]["torch"]


@pytest.fixture(scope="module")
def record_path(record: dict) -> str:
    return str(Path(record["artifacts"]["log"]["path"]).parent.with_suffix(".json"))


def test_it_is_reproduced_bit_by_bit_with_as_many_threads_as_then(record: dict, record_path: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "thinker", "reproduce", "--json", record_path],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["made"]["adapter_sha256"] == record["training"]["adapter_sha256"]


def test_every_hash_of_its_record_holds(record_path: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "thinker", "verify", "--json", record_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    counts = json.loads(done.stdout)["counts"]
    assert counts["ok"] > 0
    assert counts["not checked"] == 0
