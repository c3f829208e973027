"""Adapter and base model are proved to belong together before anything is generated."""

import json
import shutil

import pytest
from support.project import Project
from support.tiny_model import make_tiny_model


@pytest.fixture
def trained(project: Project) -> Project:
    assert project.run_here("train", "-q") == 0
    return project


def refused(project: Project, capfd, *options: str) -> tuple[int, str]:
    code = project.run_here("eval", *options)
    return code, capfd.readouterr().err


def test_an_adapter_of_another_base_model_is_refused(trained: Project, tmp_path, capfd) -> None:
    other = make_tiny_model(tmp_path / "other", seed=1)
    code, said = refused(trained, capfd, "--set", f"model.name={other.as_posix()}")
    assert code == 6
    assert "trained on another base model" in said


def test_weights_that_are_not_those_that_training_wrote_are_refused(trained: Project, capfd) -> None:
    weights = trained.root / "adapter/adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    code, said = refused(trained, capfd)
    assert code == 6
    assert "is not what training wrote" in said


def test_an_adapter_that_changes_nothing_is_refused(trained: Project, capfd) -> None:
    from safetensors.numpy import load_file, save_file

    folder = trained.root / "adapter"
    weights = folder / "adapter_model.safetensors"
    tensors = {name: tensor * 0 if "lora_B" in name else tensor for name, tensor in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    (folder / "thinker.json").unlink()
    code, said = refused(trained, capfd)
    assert code == 6
    assert "changes nothing" in said


@pytest.mark.parametrize("modules", [["q_proj"], ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj"]])
def test_an_adapter_that_peft_would_load_in_part_is_refused(trained: Project, modules: list[str], capfd) -> None:
    path = trained.root / "adapter/adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "target_modules": modules}), encoding="utf-8")
    (trained.root / "adapter/thinker.json").unlink()  # with it, the edit itself is what is told
    code, said = refused(trained, capfd)
    assert code == 6
    assert "does not fit the base model" in said


def test_a_configuration_that_training_did_not_write_is_refused(trained: Project, capfd) -> None:
    path = trained.root / "adapter/adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "lora_alpha": 64}), encoding="utf-8")
    code, said = refused(trained, capfd)
    assert code == 6
    assert "adapter_config.json is not what training wrote" in said


def test_a_foreign_adapter_is_evaluated_with_a_warning(trained: Project, tmp_path, capfd) -> None:
    foreign = tmp_path / "foreign"
    shutil.copytree(trained.root / "adapter", foreign)
    (foreign / "thinker.json").unlink()
    config = json.loads((foreign / "adapter_config.json").read_text(encoding="utf-8"))
    (foreign / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "someone/else"}))
    code, said = refused(trained, capfd, "--checkpoint", str(foreign))
    assert code == 0
    assert "was not trained by Thinker" in said


def test_no_adapter_suggests_training(project: Project, capfd) -> None:
    code, said = refused(project, capfd)
    assert code == 2
    assert "run `thinker train` first" in said
