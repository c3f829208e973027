"""`thinker merge` through the command line: what it writes, what it proves, and what it refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.project import Project, make_project
from support.tiny_model import make_tiny_model

from thinker.hashing import sha256_file


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Project:
    project = make_project(tmp_path_factory.mktemp("merge") / "project", tiny_model)
    assert project.run_here("train", "-q") == 0
    return project


@pytest.fixture
def trained(trained_once: Project, tmp_path: Path) -> Project:
    return Project(shutil.copytree(trained_once.root, tmp_path / "project"))


def manifest(project: Project, name: str = "merged") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project.root / name / "merge.json").read_text(encoding="utf-8"))
    return found


def refused(project: Project, capfd: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    code = project.run_here("merge", "--out", "merged", *options)
    return code, capfd.readouterr().err


def test_the_folder_holds_a_model_that_stands_alone_and_does_the_same(trained: Project, tiny_model: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert trained.run_here("merge", "--out", "merged", "-q") == 0
    merged = AutoModelForCausalLM.from_pretrained(trained.root / "merged")
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    adapted = PeftModel.from_pretrained(base, str(trained.root / "adapter"))
    tokenizer = AutoTokenizer.from_pretrained(trained.root / "merged")
    ids = tokenizer("What is the capital of France?\n", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(merged(input_ids=ids).logits, adapted(input_ids=ids).logits, rtol=1e-5, atol=1e-6)
        with adapted.disable_adapter():
            assert (merged(input_ids=ids).logits - adapted(input_ids=ids).logits).abs().max() > 0.01
    names = {path.name for path in (trained.root / "merged").iterdir()}
    assert {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "README.md"} <= names
    assert not any(name.startswith("adapter") for name in names)


def test_the_manifest_names_everything_by_hash(trained: Project) -> None:
    assert trained.run_here("merge", "--out", "merged", "-q") == 0
    found = manifest(trained)
    folder = trained.root / "merged"
    assert found["files"] == {path.name: sha256_file(path) for path in folder.iterdir() if path.name != "merge.json"}
    assert found["adapter"]["adapter_sha256"] == trained.adapter_sha256()
    trained_on = json.loads((trained.root / "adapter/thinker.json").read_text(encoding="utf-8"))
    assert found["base_model"] == trained_on["base_model"]
    assert found["adapter"]["run_id"] == trained_on["run_id"]


def test_the_parity_is_that_of_the_datasets_rows(trained: Project, capfd: pytest.CaptureFixture[str]) -> None:
    assert trained.run_here("merge", "--out", "merged", "--rows", "3", "--json") == 0
    shown = json.loads(capfd.readouterr().out)
    parity = shown["parity"]
    assert parity == manifest(trained)["parity"]
    assert [row["row"] for row in parity["rows"]] == [f"data/train.jsonl:{line}" for line in (1, 2, 3)]
    assert parity["max_logit_difference"] < 1e-5
    assert parity["rms_adapter_effect"] > 0.01
    assert parity["greedy_agreement"] == parity["continuation_agreement"] == 1
    assert shown["size_bytes"] == sum(path.stat().st_size for path in (trained.root / "merged").iterdir())


def test_the_figures_are_shown_row_by_row(trained: Project, capfd: pytest.CaptureFixture[str]) -> None:
    assert trained.run_here("merge", "--out", "merged", "--rows", "2") == 0
    shown = capfd.readouterr().out
    assert "data/train.jsonl:2" in shown
    assert "the same at 100.0% of positions" in shown
    assert "float32" in shown.splitlines()[-1]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_weights_are_written_in_the_precision_asked_for(trained: Project, dtype: str) -> None:
    from safetensors.torch import load_file

    assert trained.run_here("merge", "--out", "merged", "-q", "--dtype", dtype) == 0
    weights = load_file(trained.root / "merged/model.safetensors")
    assert {str(tensor.dtype) for tensor in weights.values()} == {f"torch.{dtype}"}
    assert json.loads((trained.root / "merged/config.json").read_text(encoding="utf-8"))["dtype"] == dtype
    assert (
        0
        < manifest(trained)["parity"]["rms_logit_difference"]
        < 0.1 * manifest(trained)["parity"]["rms_adapter_effect"]
    )


def test_merging_again_replaces_the_earlier_merge_and_gives_the_same_bits(trained: Project) -> None:
    assert trained.run_here("merge", "--out", "merged", "-q", "--rows", "1") == 0
    before = manifest(trained)["files"]
    assert trained.run_here("merge", "--out", "merged", "-q", "--rows", "2") == 0
    assert len(manifest(trained)["parity"]["rows"]) == 2
    assert manifest(trained)["files"]["model.safetensors"] == before["model.safetensors"]


@pytest.mark.parametrize("taken", ["adapter", "data", "."])
def test_a_folder_with_anything_else_in_it_is_left_alone(
    trained: Project, taken: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = sorted(trained.root.rglob("*"))
    assert trained.run_here("merge", "--out", taken) == 2
    assert "name a new folder" in capfd.readouterr().err
    assert sorted(trained.root.rglob("*")) == before


def test_a_merged_model_that_lacks_the_adapter_is_not_left_there(
    trained: Project, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thinker.merging.merge.merged_model", lambda base, adapter, dtype: base)
    before = sorted(trained.root.iterdir())
    code, said = refused(trained, capfd)
    assert code == 7
    assert "on data/train.jsonl:" in said
    assert sorted(trained.root.iterdir()) == before


def test_a_tokenizer_that_was_written_wrong_is_noticed(
    trained: Project, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from transformers import PreTrainedTokenizerFast

    wrong = make_tiny_model(tmp_path / "wrong", bos=True)
    monkeypatch.setattr(
        PreTrainedTokenizerFast, "save_pretrained",
        lambda self, folder: [shutil.copy(path, folder) for path in wrong.glob("tokenizer*")],
    )  # fmt: skip
    code, said = refused(trained, capfd)
    assert code == 7
    assert "cuts data/train.jsonl:1 into other tokens" in said
    assert not (trained.root / "merged").exists()


def test_an_adapter_that_the_rounding_swallows_is_told(trained: Project, capfd: pytest.CaptureFixture[str]) -> None:
    assert trained.run_here("train", "-q", "--set", "training.learning_rate=1e-6") == 0
    code, said = refused(trained, capfd, "--dtype", "bfloat16")
    assert code == 7
    assert "rounding weighs as much as the adapter" in said
    assert not (trained.root / "merged").exists()
    assert refused(trained, capfd, "--dtype", "float32")[0] == 0


def test_an_adapter_of_another_base_model_is_refused(
    trained: Project, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = make_tiny_model(tmp_path / "other", seed=1)
    code, said = refused(trained, capfd, "--set", f"model.name={other.as_posix()}")
    assert code == 6
    assert "trained on another base model" in said


def test_a_checkpoint_given_by_path_is_the_one_that_is_merged(
    trained: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    assert refused(trained, capfd, "--checkpoint", "nowhere")[0] == 2
    (trained.root / "adapter").rename(trained.root / "kept")
    code, said = refused(trained, capfd)
    assert code == 2
    assert "no adapter to merge" in said
    assert refused(trained, capfd, "--checkpoint", "kept")[0] == 0


def test_rows_that_cannot_be_read_give_way_to_fixed_texts(trained: Project, capfd: pytest.CaptureFixture[str]) -> None:
    trained.write("data/train.jsonl", "not a row\n")
    code, said = refused(trained, capfd)
    assert code == 0
    assert "parity is measured on fixed texts, not on the dataset's rows" in said
    assert [row["row"] for row in manifest(trained)["parity"]["rows"]] == [f"text {n}" for n in range(1, 9)]


def test_rows_that_training_left_out_are_left_out(trained: Project, capfd: pytest.CaptureFixture[str]) -> None:
    lengths = {}
    for line in range(1, 11):
        assert trained.run_here("inspect", "--line", str(line), "--json") == 0
        lengths[f"data/train.jsonl:{line}"] = json.loads(capfd.readouterr().out)["length"]
    limit = sorted(lengths.values())[5]
    assert trained.run_here("merge", "--out", "merged", "-q", "--set", f"training.max_seq_length={limit}") == 0
    compared = [row["row"] for row in manifest(trained)["parity"]["rows"]]
    assert compared == [name for name, length in lengths.items() if length <= limit][:8]
    assert len(compared) < 10
