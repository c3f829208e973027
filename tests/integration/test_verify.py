"""`thinker verify` through the command line: a verdict on every hash, without torch."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.project import Project, make_project

HASH = re.compile(r"[0-9a-f]{64}")
Verdicts = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Project:
    """A project after one `thinker run`, with its model inside. Do not write to it."""
    root = tmp_path_factory.mktemp("verified") / "project"
    project = make_project(root, Path("model"))
    shutil.copytree(tiny_model, root / "model")
    assert project.run_here("run", "-q", "--set", "pipeline.evaluation.compare_base=true") == 0
    return project


@pytest.fixture
def moved(trained: Project, tmp_path: Path) -> Project:
    """A copy of it in another folder, to change something in."""
    return Project(shutil.copytree(trained.root, tmp_path / "moved"))


@pytest.fixture
def verify(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Verdicts]]:
    """The exit code, and the verdicts by each key of the record; those of the manifest by what they are of."""

    def run(project: Project, *args: str) -> tuple[int, Verdicts]:
        capfd.readouterr()
        code = project.run_here("verify", "--json", *args)
        found = json.loads(capfd.readouterr().out)
        assert found["exit_code"] == code
        return code, {key: each for each in found["hashes"] for key in each["keys"] or [each["what"]]}

    return run


def record_path(project: Project) -> Path:
    return next((project.root / "runs").glob("*.json"))


def statuses(verdicts: Verdicts) -> dict[str, str]:
    """Those that are not `ok`."""
    return {key: each["status"] for key, each in verdicts.items() if each["status"] != "ok"}


def keys_of_hashes(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from keys_of_hashes(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, str) and HASH.fullmatch(value):
        yield key


def test_every_hash_of_a_record_and_of_the_adapters_manifest_is_spoken_of_and_holds(trained: Project, verify) -> None:
    code, verdicts = verify(trained)
    assert code == 0
    manifest = json.loads((trained.root / "adapter/thinker.json").read_text(encoding="utf-8"))
    expected = {*keys_of_hashes(trained.record()), *(f"manifest: {key}" for key in keys_of_hashes(manifest))}
    assert set(verdicts) == expected
    assert statuses(verdicts) == {}


def test_a_project_that_was_moved_verifies_from_any_folder(moved: Project, tmp_path: Path, verify) -> None:
    (tmp_path / "elsewhere").mkdir()
    code, verdicts = verify(Project(tmp_path / "elsewhere"), str(record_path(moved)))
    assert (code, statuses(verdicts)) == (0, {})


def test_verifying_imports_neither_torch_nor_transformers_and_writes_nothing(trained: Project) -> None:
    files = sorted((path, path.stat().st_mtime_ns) for path in trained.root.rglob("*"))
    program = (
        "import sys; from thinker.cli.entry import run; code = run(['verify', '-q']);"
        "print(sorted({'torch', 'transformers', 'peft', 'datasets'} & sys.modules.keys())); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", program], cwd=trained.root, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    assert sorted((path, path.stat().st_mtime_ns) for path in trained.root.rglob("*")) == files


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b" ")


DAMAGED = {
    "data/train.jsonl": {"inputs.1.sha256", "validation.dataset.sha256", "validation.dataset.files.0.sha256",
                         "training_inputs.dataset", "digests.config", "digests.gate", "manifest: dataset_sha256",
                         "manifest: split.dataset_sha256"},
    "data/eval.jsonl": {"inputs.3.sha256", "digests.config", "digests.gate"},
    "lora.yaml": {"inputs.2.sha256"},
    "tests/test_data.py": {"digests.config", "digests.gate"},
    "model/generation_config.json": {"training.base_model.identity.files.generation_config.json",
                                     "evaluation.base_model.identity.files.generation_config.json",
                                     "training_inputs.base_model", "digests.config", "digests.gate",
                                     "manifest: base_model.identity"},
    "adapter/adapter_model.safetensors": {"training.adapter_sha256", "evaluation.adapter.sha256",
                                          "manifest: adapter_sha256"},
    "adapter/adapter_config.json": {"manifest: adapter_config_sha256"},
    "out/predictions.jsonl": {"artifacts.output.sha256"},
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_a_changed_file_changes_the_hashes_that_cover_it_and_no_others(name: str, moved: Project, verify) -> None:
    damage(moved.root / name)
    code, verdicts = verify(moved)
    assert (code, statuses(verdicts)) == (7, dict.fromkeys(DAMAGED[name], "changed"))


def test_rows_that_are_other_tokens_change_the_hash_of_the_encoded_rows(moved: Project, verify) -> None:
    moved.replace("data/train.jsonl", "Paris", "Parix")
    assert verify(moved)[1]["validation.dataset.statistics.encoding_sha256"]["status"] == "changed"


def test_every_file_in_the_runs_folder_is_verified(moved: Project, verify) -> None:
    folder = record_path(moved).with_suffix("")
    for path in folder.iterdir():
        damage(path)
    artifacts = {key for key in keys_of_hashes(moved.record()) if key.startswith("artifacts.")} - {
        "artifacts.output.sha256"
    }
    assert len(artifacts) == len(list(folder.iterdir()))
    _, verdicts = verify(moved)
    assert statuses(verdicts) == dict.fromkeys(artifacts, "changed")


def test_files_that_are_gone_are_missing(moved: Project, verify) -> None:
    shutil.rmtree(moved.root / "adapter")
    (moved.root / "data/eval.jsonl").unlink()
    code, verdicts = verify(moved)
    assert code == 7
    assert {key for key, status in statuses(verdicts).items() if status == "missing"} == {
        "training.adapter_sha256", "evaluation.adapter.sha256", "manifest", "inputs.3.sha256",
    }  # fmt: skip


def test_without_the_pipeline_file_what_needs_it_is_missing_and_says_why(moved: Project, verify) -> None:
    shutil.rmtree(record_path(moved).with_suffix(""))
    (moved.root / "pipeline.yaml").unlink()
    _, verdicts = verify(moved, str(record_path(moved)))
    assert verdicts["digests.config"]["status"] == "missing"
    assert "the run's pipeline file is missing" in verdicts["digests.config"]["detail"]
    assert verdicts["training.adapter_sha256"]["status"] == "ok"


@pytest.mark.parametrize("key", ["config", "training", "gate"])
def test_a_digest_that_was_edited_is_changed(key: str, moved: Project, verify) -> None:
    path = record_path(moved)
    record = json.loads(path.read_text(encoding="utf-8"))
    record["digests"][key] = "0" * 64
    path.write_text(json.dumps(record), encoding="utf-8")
    of_manifest = {"config": {"manifest: config_fingerprint"}, "training": {"manifest: training_fingerprint"}}
    expected = {f"digests.{key}", *of_manifest.get(key, set())}
    assert statuses(verify(moved)[1]) == dict.fromkeys(expected, "changed")


def test_another_version_of_a_package_damages_no_hash(trained: Project, verify, monkeypatch) -> None:
    monkeypatch.setattr("thinker.validation.declared_inputs._versions", lambda _: {"pytest": "0.1"})
    assert statuses(verify(trained)[1]) == {}


def test_what_the_training_digest_is_taken_of_cannot_be_edited_unseen(moved: Project, verify) -> None:
    path = record_path(moved)
    record = json.loads(path.read_text(encoding="utf-8"))
    record["training_inputs"]["versions"]["torch"] = "2.12.0"
    path.write_text(json.dumps(record), encoding="utf-8")
    assert statuses(verify(moved)[1]) == {"digests.training": "changed"}


def test_an_altered_receipt_breaks_its_seal(moved: Project, verify) -> None:
    (receipt,) = (moved.root / ".thinker/receipts").glob("*.json")
    receipt.write_text(receipt.read_text(encoding="utf-8").replace('"rows": 10', '"rows": 11'), encoding="utf-8")
    _, verdicts = verify(moved)
    assert verdicts["validation.receipt.digest"]["status"] == "changed"
    assert "it was altered" in verdicts["validation.receipt.digest"]["detail"]


def test_a_hash_of_which_nothing_is_known_is_not_passed_over(moved: Project, verify) -> None:
    path = record_path(moved)
    record = json.loads(path.read_text(encoding="utf-8"))
    record["training"]["settings"]["further"]["of_a_later_version"] = "a" * 64
    path.write_text(json.dumps(record), encoding="utf-8")
    code, verdicts = verify(moved)
    assert (code, statuses(verdicts)) == (0, {"training.settings.further.of_a_later_version": "not checked"})


@pytest.mark.slow
def test_an_adapter_that_another_run_replaced_is_told_from_a_damaged_one(moved: Project, verify) -> None:
    first = record_path(moved)
    assert moved.run_here("train", "-q", "--set", "data.seed=8") == 0
    _, verdicts = verify(moved, str(first))
    assert statuses(verdicts)["training.adapter_sha256"] == "changed"
    assert "whose adapter took this one's place" in verdicts["manifest"]["detail"]


def test_the_table_says_what_where_and_how_and_counts(moved: Project, capfd) -> None:
    damage(moved.root / "lora.yaml")
    assert moved.run_here("verify") == 7
    shown = capfd.readouterr().out
    assert re.search(r"recipe +lora\.yaml +changed", shown)
    assert re.search(r"dataset +data/train\.jsonl +ok", shown)
    assert re.search(r"run \S+: \d+ ok, 1 changed\n$", shown)
    assert moved.run_here("verify", "-q") == 7
    assert "data/train.jsonl" not in capfd.readouterr().out
