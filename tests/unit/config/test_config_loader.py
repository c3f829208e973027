from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from config_project import PIPELINE, Project

from thinker.config import load_experiment, load_pipeline_config
from thinker.errors import ConfigError


@pytest.mark.parametrize("command", ["validate", "train", "eval", "run"])
@pytest.mark.parametrize("section", ["tests", "data_validation"])
def test_tests_and_data_validation_are_needed_by_every_command(project: Project, command: str, section: str) -> None:
    project.pipeline(f"{section}x:\n", f"{section}:\n")
    problems = project.problems(command)
    assert any(f"{section}: missing section; every command needs it: " in problem for problem in problems)


def test_the_advice_for_missing_tests_says_how_to_go_without(project: Project) -> None:
    project.pipeline("tests: {enabled: false}\n", "tests:\n  path: suite\n")
    assert project.load().pipeline.tests.enabled is False
    project.pipeline("", "tests: {enabled: false}\n")
    assert project.problem() == (
        "pipeline.yaml:1:1: tests: missing section; every command needs it: name the pytest suite that must pass"
        " (tests: {path: FOLDER}), or go without one (tests: {enabled: false})"
    )


def test_a_section_without_keys_is_called_empty(project: Project) -> None:
    project.pipeline("tests:\n", "tests:\n  path: suite\n")
    assert project.problem().startswith("pipeline.yaml:1:1: tests: empty section; every command needs it")


def test_enabled_tests_need_a_path(project: Project) -> None:
    project.pipeline("  markers: x\n", "  path: suite\n")
    assert project.problem() == (
        "pipeline.yaml:1:1: tests.path: required, but missing; to go without a test suite, set 'enabled: false'"
    )


@pytest.mark.parametrize(("command", "needed"), [("validate", False), ("train", True), ("eval", False), ("run", True)])
def test_training_is_needed_to_train(project: Project, command: str, needed: bool) -> None:
    project.pipeline("", "training:\n  backend: hf_peft\n  config_path: lora.yaml\n")
    if needed:
        assert f"training: missing section; `thinker {command}` needs it" in project.problem(command)
    else:
        assert project.load(command).recipe is None


@pytest.mark.parametrize(("command", "needed"), [("validate", False), ("train", False), ("eval", True), ("run", True)])
def test_evaluation_is_needed_to_evaluate(project: Project, command: str, needed: bool) -> None:
    project.pipeline(PIPELINE.partition("evaluation:")[0])
    if needed:
        assert f"evaluation: missing section; `thinker {command}` needs it" in project.problem(command)
    else:
        assert project.load(command).pipeline.evaluation is None


def test_a_key_that_is_required_names_its_section(project: Project) -> None:
    project.pipeline("", "  config_path: lora.yaml\n")
    assert project.problem() == "pipeline.yaml:5:1: training.config_path: required, but missing"


@pytest.mark.parametrize(
    ("old", "key", "place"),
    [
        ("  path: suite\n", "tests.path", "2:9"),
        ("  path: data.jsonl\n", "data_validation.path", "4:9"),
        ("  config_path: lora.yaml\n", "training.config_path", "7:16"),
        ("  claims_file: claims.jsonl\n", "evaluation.claims_file", "11:16"),
        ("  corpus_file: corpus.jsonl\n", "evaluation.corpus_file", "12:16"),
    ],
)
def test_an_input_that_is_not_there_is_told_as_written_and_resolved(
    project: Project, old: str, key: str, place: str
) -> None:
    name = old.partition(":")[0]
    project.pipeline(f"{name}: gone/here\n", old)
    kind = "file or folder" if key == "tests.path" else "file"
    resolved = project.root.resolve() / "gone" / "here"
    assert project.problem() == (f"pipeline.yaml:{place}: {key}: no such {kind}: gone/here (resolved: {resolved})")


@pytest.mark.parametrize("command", ["validate", "train"])
def test_inputs_of_the_evaluation_may_be_missing_before_it_runs(project: Project, command: str) -> None:
    (project.root / "claims.jsonl").unlink()
    project.load(command)


@pytest.mark.parametrize(
    "key", ["pipeline.training.config_path", "pipeline.tests.path", "model.name", "pipeline.runs_dir"]
)
def test_a_path_longer_than_any_file_name_is_no_crash(project: Project, key: str) -> None:
    project.pipeline("", "  base_model: org/model\n")
    if key == "pipeline.runs_dir":
        project.load(overrides=[f"{key}=./{'x' * 5000}"])
    else:
        assert any(f"--set {key}=" in problem for problem in project.problems(overrides=[f"{key}=./{'x' * 5000}"]))


def test_a_folder_is_no_dataset(project: Project) -> None:
    project.pipeline("  path: suite/\n", "  path: data.jsonl\n")
    resolved = project.root.resolve() / "suite"
    assert f"data_validation.path: is a folder, not a file: suite/ (resolved: {resolved})" in project.problem()


def test_disabled_tests_need_no_files(project: Project) -> None:
    project.pipeline("  path: gone\n  enabled: false\n", "  path: suite\n")
    project.load()


def test_outputs_need_not_exist(project: Project) -> None:
    project.pipeline(PIPELINE + "  output_path: new/folder/predictions.jsonl\nruns_dir: new/runs\n")
    config = project.load().pipeline
    assert config.runs_dir == project.root.resolve() / "new" / "runs"
    assert config.evaluation is not None
    assert config.evaluation.output_path == project.root.resolve() / "new" / "folder" / "predictions.jsonl"


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("  output_path: suite", "evaluation.output_path: is a folder, not a file: suite"),
        ("  output_path: claims.jsonl", "evaluation.output_path: would overwrite the input evaluation.claims_file: "),
        ("  output_path: suite/../data.jsonl", "evaluation.output_path: would overwrite the input "),
        ("  output_path: lora.yaml", "evaluation.output_path: would overwrite the "),
        ("runs_dir: data.jsonl", "runs_dir: is a file, not a folder: data.jsonl"),
    ],
)
def test_an_output_does_not_take_the_place_of_something_else(project: Project, lines: str, problem: str) -> None:
    project.pipeline(PIPELINE + lines + "\n")
    assert problem in project.problem()


def test_paths_are_relative_to_the_file_that_states_them(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("recipes/lora.yaml", "model: {name: org/model}\ndata: {train_file: ../data.jsonl}\n")
    project.pipeline("  config_path: recipes/lora.yaml\n", "  config_path: lora.yaml\n")
    (project.root / "elsewhere").mkdir()
    monkeypatch.chdir(project.root / "elsewhere")
    experiment = project.load()
    assert experiment.recipe is not None
    assert experiment.recipe.data.train_file == project.root.resolve() / "data.jsonl"
    assert experiment.dataset.paths == (project.root.resolve() / "data.jsonl",)


def test_runs_go_below_the_current_folder_unless_a_place_is_given(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.root / "elsewhere").mkdir()
    monkeypatch.chdir(project.root / "elsewhere")
    assert project.load().pipeline.runs_dir == (project.root / "elsewhere" / "runs" / "thinker").resolve()


def test_the_home_folder_is_expanded(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(project.root / "suite"))
    monkeypatch.setenv("USERPROFILE", str(project.root / "suite"))
    project.pipeline(PIPELINE + "runs_dir: ~/runs\n")
    assert project.load().pipeline.runs_dir == project.root.resolve() / "suite" / "runs"


def test_messages_name_the_file_as_it_was_given(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.pipeline("zzz: 1\n" + PIPELINE)
    monkeypatch.chdir(project.root / "suite")
    for given in (Path("../pipeline.yaml"), project.root / "pipeline.yaml"):
        with pytest.raises(ConfigError) as caught:
            load_experiment(given)
        assert str(caught.value).startswith(f"{given.as_posix()}:1:1: zzz: unknown key")


def test_a_missing_pipeline_file_is_told(project: Project) -> None:
    with pytest.raises(ConfigError, match=r"^gone\.yaml: cannot be read: No such file or directory \(resolved: .*gone"):
        load_experiment("gone.yaml")


@pytest.mark.parametrize("key", ["training", "evaluation"])
def test_an_unknown_backend_is_told_with_the_nearest(project: Project, key: str) -> None:
    project.pipeline("", "  backend: hf_peft\n")
    project.pipeline(f"{key}:\n  backend: hf_pfet\n", f"{key}:\n")
    assert "'hf_pfet', did you mean 'hf_peft'? (known: " in project.problem()


def test_a_plugin_reference_is_a_known_backend(project: Project) -> None:
    project.pipeline("  backend: my_package.module:create\n", "  backend: hf_peft\n")
    training = project.load().pipeline.training
    assert training is not None
    assert training.backend == "my_package.module:create"


def test_the_task_says_which_evaluation_inputs_it_needs(project: Project) -> None:
    project.pipeline("  claims_file: null\n", "  claims_file: claims.jsonl\n")
    project.pipeline("", "  corpus_file: corpus.jsonl\n")
    for command in ("eval", "run"):
        assert project.problems(command) == [
            "pipeline.yaml:8:1: evaluation.corpus_file: required by the task 'scifact_claims', but missing",
            "pipeline.yaml:11:3: evaluation.claims_file: required by the task 'scifact_claims', but missing",
        ]
    project.load("train")


def test_a_task_that_needs_no_inputs_gets_by_without(project: Project) -> None:
    project.pipeline("", "  claims_file: claims.jsonl\n  corpus_file: corpus.jsonl\n")
    project.pipeline("task: prompt_completion\ntests:\n", "tests:\n")
    assert project.load().pipeline.task == "prompt_completion"


def test_a_task_plugin_that_cannot_be_loaded_is_told(project: Project) -> None:
    project.pipeline("task: no_such_module:Task\ntests:\n", "tests:\n")
    assert project.problem().startswith("pipeline.yaml:1:7: task: task 'no_such_module:Task': cannot load")


def test_an_adapter_given_on_the_command_line_replaces_that_of_the_files(project: Project) -> None:
    project.lora("  checkpoint_dir: out/another\n", "  checkpoint_dir: out/adapter\n")
    experiment = project.load("eval", checkpoint=Path("other/adapter"))
    assert experiment.checkpoint_dir == project.root.resolve() / "other" / "adapter"
    assert experiment.pipeline.evaluation is not None
    assert experiment.pipeline.evaluation.checkpoint_dir == experiment.checkpoint_dir
    assert experiment.overrides == ("pipeline.evaluation.checkpoint_dir=other/adapter",)


def test_an_adapter_given_on_the_command_line_beats_a_null(project: Project) -> None:
    project.pipeline("  checkpoint_dir: null\n", "  checkpoint_dir: out/adapter\n")
    assert project.load("eval", checkpoint=Path("other")).evaluate_base_only is False


def test_a_backend_given_on_the_command_line_is_checked_and_recorded(project: Project) -> None:
    experiment = project.load("train", backend="my.module:create")
    assert experiment.pipeline.training is not None
    assert experiment.pipeline.training.backend == "my.module:create"
    assert experiment.overrides == ("pipeline.training.backend=my.module:create",)
    assert project.problem("train", backend="hf").startswith("--backend hf: training.backend: unknown backend 'hf'")


def test_the_pipeline_file_loads_alone(project: Project) -> None:
    (project.root / "lora.yaml").write_text("not: [valid", encoding="utf-8")
    config = load_pipeline_config(project.root / "pipeline.yaml", overrides=["pipeline.evaluation.max_samples=5"])
    assert config.evaluation is not None
    assert config.evaluation.max_samples == 5
    with pytest.raises(ConfigError, match="a key of the LoRA file, which is not read here"):
        load_pipeline_config(project.root / "pipeline.yaml", overrides=["training.fp16=true"])


def test_a_revision_of_a_local_model_is_warned_about(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    project.write("model.gguf", "")
    project.pipeline("", "  base_model: org/model\n")
    project.lora("  name: model.gguf\n  revision: main\n", "  name: org/model\n")
    with caplog.at_level(logging.WARNING, logger="thinker"):
        project.load()
    assert "model.revision has no meaning for a local model" in caplog.text


def test_importing_the_configuration_imports_nothing_heavy() -> None:
    code = "import sys, thinker.config; print({'torch', 'transformers', 'pytest', 'numpy', 'rich'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "set()"


def test_what_the_suite_is_said_to_read_must_be_there(project: Project) -> None:
    project.write("data/a.csv", "")
    project.pipeline("  path: suite\n  inputs: [data, 'data/*.csv', gone, 'data/*.json']\n", "  path: suite\n")
    problems = project.problems("validate")
    root = project.root.resolve()
    assert problems == [
        f"pipeline.yaml:3:32: tests.inputs[2]: no such file or folder: gone (resolved: {root / 'gone'})",
        f"pipeline.yaml:3:38: tests.inputs[3]: no file matches data/*.json (resolved: {root / 'data/*.json'})",
    ]
