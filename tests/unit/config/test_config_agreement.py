from __future__ import annotations

import logging
from pathlib import Path

import pytest
from config_project import Project

COMMANDS = ["train", "eval", "run"]


def test_absent_or_null_means_the_other_files_value(project: Project) -> None:
    project.pipeline("  path: null\n", "  path: data.jsonl\n")
    project.pipeline("", "  base_model: org/model\n")
    project.pipeline("", "  checkpoint_dir: out/adapter\n")
    experiment = project.load()
    root = project.root.resolve()
    assert experiment.pipeline.data_validation.path == root / "data.jsonl"
    assert experiment.dataset.paths == (root / "data.jsonl",)
    evaluation = experiment.pipeline.evaluation
    assert evaluation is not None
    assert evaluation.base_model == experiment.base_model == "org/model"
    assert evaluation.checkpoint_dir == experiment.checkpoint_dir == root / "out" / "adapter"


def test_the_lora_file_takes_the_pipeline_files_values(project: Project) -> None:
    project.lora("  train_file: null\n", "  train_file: data.jsonl\n")
    project.lora("", "output:\n  checkpoint_dir: out/adapter\n")
    experiment = project.load()
    assert experiment.recipe is not None
    assert experiment.recipe.data.train_file == project.root.resolve() / "data.jsonl"
    assert experiment.recipe.output.checkpoint_dir == project.root.resolve() / "out" / "adapter"


def test_no_dataset_at_all_is_an_error_for_every_command(project: Project) -> None:
    project.pipeline("data_validation: {}\n", "data_validation:\n  path: data.jsonl\n")
    project.lora("", "data:\n  train_file: data.jsonl\n")
    for command in ("validate", *COMMANDS):
        assert project.problem(command) == (
            "pipeline.yaml:3:1: data_validation.path: required, but missing:"
            " neither this nor data.train_file of the LoRA file names the dataset"
        )


@pytest.mark.parametrize("command", COMMANDS)
def test_two_datasets_of_different_content_are_an_error(project: Project, command: str) -> None:
    project.write("other.jsonl", "{}\n")
    project.lora("  train_file: other.jsonl\n", "  train_file: data.jsonl\n")
    assert project.problem(command) == (
        "pipeline.yaml:4:9: data_validation.path: 'data.jsonl' is not the 'other.jsonl' of data.train_file"
        " (lora.yaml:6:15); the gate must check what training reads: make them one, or leave one of the two keys out"
    )


def test_validate_lets_the_files_differ(project: Project) -> None:
    project.write("other.jsonl", "{}\n")
    project.lora("  train_file: other.jsonl\n", "  train_file: data.jsonl\n")
    project.lora("  name: org/other\n", "  name: org/model\n")
    project.lora("  checkpoint_dir: out/other\n", "  checkpoint_dir: out/adapter\n")
    assert project.load("validate").dataset.paths == (project.root.resolve() / "data.jsonl",)


def test_two_paths_of_one_content_are_one_dataset(project: Project) -> None:
    project.write("copy.jsonl", (project.root / "data.jsonl").read_text(encoding="utf-8"))
    project.lora("  train_file: copy.jsonl\n", "  train_file: data.jsonl\n")
    assert project.load().dataset.paths == (project.root.resolve() / "data.jsonl",)


@pytest.mark.parametrize("command", COMMANDS)
def test_two_checkpoint_folders_are_an_error(project: Project, command: str) -> None:
    project.lora("  checkpoint_dir: out/other\n", "  checkpoint_dir: out/adapter\n")
    assert project.problem(command) == (
        "pipeline.yaml:10:19: evaluation.checkpoint_dir: 'out/adapter' is not the 'out/other' of output.checkpoint_dir"
        " (lora.yaml:8:19); evaluation must load what training wrote: make them one, or leave one of the two keys out"
    )


def test_two_spellings_of_one_checkpoint_folder_are_one(project: Project) -> None:
    project.lora("  checkpoint_dir: ./suite/../out/adapter/\n", "  checkpoint_dir: out/adapter\n")
    assert project.load().checkpoint_dir == project.root.resolve() / "out" / "adapter"


@pytest.mark.parametrize("command", COMMANDS)
def test_two_base_models_are_an_error(project: Project, command: str) -> None:
    project.lora("  name: org/other\n", "  name: org/model\n")
    assert project.problem(command) == (
        "pipeline.yaml:9:15: evaluation.base_model: 'org/model' is not the 'org/other' of model.name (lora.yaml:2:9);"
        " evaluation must load the model that was trained: make them one, or leave one of the two keys out"
    )


def test_local_models_are_compared_by_content(project: Project) -> None:
    for folder, weights in (("a", "1"), ("b", "1"), ("c", "2")):
        project.write(f"{folder}/model.safetensors", weights)
    project.pipeline("  base_model: ./a\n", "  base_model: org/model\n")
    project.lora("  name: ./b\n", "  name: org/model\n")
    assert project.load().base_model == str(project.root.resolve() / "b")
    project.lora("  name: ./c\n", "  name: ./b\n")
    assert "'./a' is not the './c' of model.name" in project.problem()


def test_a_hub_model_and_a_local_one_differ(project: Project) -> None:
    project.write("a/model.safetensors", "1")
    project.lora("  name: ./a\n", "  name: org/model\n")
    assert "'org/model' is not the './a' of model.name" in project.problem()


def test_all_disagreements_are_told_at_once(project: Project) -> None:
    project.lora("  name: org/other\n", "  name: org/model\n")
    project.lora("  checkpoint_dir: out/other\n", "  checkpoint_dir: out/adapter\n")
    assert len(project.problems()) == 2


@pytest.mark.parametrize("command", ["train", "run"])
def test_training_needs_a_place_for_the_adapter(project: Project, command: str) -> None:
    project.pipeline("", "  checkpoint_dir: out/adapter\n")
    project.lora("output: {logging_steps: 1}\n", "output:\n  checkpoint_dir: out/adapter\n")
    assert project.problem(command) == (
        "lora.yaml:7:1: output.checkpoint_dir: required, but missing:"
        " neither this nor evaluation.checkpoint_dir says where the adapter goes"
    )


def test_the_adapter_does_not_go_into_the_base_models_folder(project: Project) -> None:
    project.write("base/model.safetensors", "1")
    project.pipeline("", "  base_model: org/model\n  checkpoint_dir: out/adapter\n")
    project.lora("  name: ./base\n", "  name: org/model\n")
    project.lora("  checkpoint_dir: base\n", "  checkpoint_dir: out/adapter\n")
    assert "output.checkpoint_dir: is the base model's own folder: " in project.problem()


def test_an_explicit_null_evaluates_the_base_model_and_says_so(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    project.pipeline("  checkpoint_dir: null\n", "  checkpoint_dir: out/adapter\n")
    with caplog.at_level(logging.WARNING, logger="thinker"):
        experiment = project.load("run")
    assert experiment.evaluate_base_only is True
    assert experiment.checkpoint_dir == project.root.resolve() / "out" / "adapter"
    assert experiment.pipeline.evaluation is not None
    assert experiment.pipeline.evaluation.checkpoint_dir is None
    assert "pipeline.yaml:10:19: evaluation.checkpoint_dir is null" in caplog.text


def test_an_explicit_null_needs_no_warning_where_nothing_is_trained(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    project.pipeline("  checkpoint_dir: null\n", "  checkpoint_dir: out/adapter\n")
    with caplog.at_level(logging.WARNING, logger="thinker"):
        assert project.load("eval").evaluate_base_only is True
    assert caplog.text == ""


def test_without_any_adapter_named_the_base_model_is_evaluated_with_a_warning(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    project.pipeline("", "training:\n  backend: hf_peft\n  config_path: lora.yaml\n")
    project.pipeline("", "  checkpoint_dir: out/adapter\n")
    with caplog.at_level(logging.WARNING, logger="thinker"):
        experiment = project.load("eval")
    assert experiment.evaluate_base_only is True
    assert experiment.checkpoint_dir is None
    assert "nothing names an adapter" in caplog.text


def test_without_training_evaluation_names_its_model_itself(project: Project) -> None:
    project.pipeline("", "training:\n  backend: hf_peft\n  config_path: lora.yaml\n")
    assert project.load("eval").base_model == "org/model"
    project.pipeline("", "  base_model: org/model\n")
    assert "evaluation.base_model: required, but missing" in project.problem("eval")
    assert project.load("validate").base_model is None


@pytest.mark.parametrize("key", ["model.name", "pipeline.evaluation.base_model"])
@pytest.mark.parametrize("name", ["models/gone.gguf", "./gone", "~/gone-model", "/gone/model"])
def test_a_local_model_must_be_there_when_it_is_used(project: Project, key: str, name: str) -> None:
    project.pipeline("", "  base_model: org/model\n")
    assert f"no such model: {name} (resolved: " in project.problem("train", overrides=[f"{key}={name}"])
    assert project.load("validate", overrides=[f"{key}={name}"]).base_model is not None


def test_a_model_that_exists_below_the_file_is_local(project: Project) -> None:
    project.write("org/model/config.json", "{}")
    experiment = project.load()
    assert experiment.base_model == str(project.root.resolve() / "org" / "model")
    assert experiment.pipeline.evaluation is not None
    assert experiment.pipeline.evaluation.base_model == experiment.base_model


@pytest.mark.parametrize("name", ["gpt2", "meta-llama/Llama-3.1-8B-Instruct", "a/b_c.d-1"])
def test_anything_else_is_a_hub_id(project: Project, name: str) -> None:
    project.pipeline("", "  base_model: org/model\n")
    assert project.load(overrides=[f"model.name={name}"]).base_model == name


@pytest.mark.parametrize("name", ["a/b/c", "owner/", "my model", "a--b", "a..b", "x" * 97, "http://hub/a", "é/b"])
def test_what_can_be_neither_path_nor_hub_id_is_an_error(project: Project, name: str) -> None:
    problems = project.problems(overrides=[f"model.name={name}"])
    assert any("neither a path" in problem and f"nor a hub id (owner/name): {name}" in problem for problem in problems)


def test_a_file_that_is_no_gguf_is_no_model(project: Project) -> None:
    assert "a file that is no .gguf model: ./data.jsonl" in project.problems(overrides=["model.name=./data.jsonl"])[0]


def test_a_shared_folder_reached_through_a_link_is_one_place(project: Project, tmp_path: Path) -> None:
    (project.root / "out").mkdir()
    try:
        (project.root / "link").symlink_to("out", target_is_directory=True)
    except OSError as error:
        pytest.skip(f"symbolic links are not allowed here: {error}")
    project.lora("  checkpoint_dir: link/adapter\n", "  checkpoint_dir: out/adapter\n")
    project.load()
