from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from config_project import PIPELINE, Project

import thinker
from thinker.config import Experiment, PipelineConfig, Recipe
from thinker.config import model_types as types
from thinker.config.fingerprint import config_fingerprint, model_identity, training_fingerprint, training_inputs
from thinker.config.resolved import resolved_config
from thinker.errors import ConfigError
from thinker.hashing import sha256_file
from thinker.tasks.scifact_claims import ScifactClaims
from thinker.validation.known_verdicts import KnownVerdicts

VERSIONS = {"python": "3.11", "torch": "2.13"}


def config(experiment: Experiment) -> str:
    return config_fingerprint(experiment)


def training(experiment: Experiment, **changed: Any) -> str:
    given = {"dataset_sha256": "d", "model_identity": "m", "versions": VERSIONS, **changed}
    return training_fingerprint(training_inputs(experiment, **given))


def gate(experiment: Experiment) -> str:
    return KnownVerdicts(experiment, ScifactClaims()).inputs.digest


ALL: list[Callable[[Experiment], str]] = [config, training, gate]


@pytest.mark.parametrize("digest", ALL)
def test_moving_the_experiment_changes_nothing(
    project: Project, digest: Callable[[Experiment], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digest(project.load())
    moved = tmp_path / "moved" / "deeper"
    other = Project(moved)
    monkeypatch.chdir(moved)
    assert digest(other.load()) == before


@pytest.mark.parametrize("digest", ALL)
def test_comments_order_and_spelling_change_nothing(project: Project, digest: Callable[[Experiment], str]) -> None:
    project.lora("  learning_rate: 2e-4\n  num_epochs: 3\n", "  learning_rate: 2e-4\n")
    before = digest(project.load())
    project.lora("# twice\n  num_epochs: 3.0\n  learning_rate: 0.0002\n", "  learning_rate: 2e-4\n  num_epochs: 3\n")
    project.pipeline("evaluation:\n" + PIPELINE.partition("evaluation:\n")[2] + PIPELINE.partition("evaluation:\n")[0])
    assert digest(project.load()) == before


@pytest.mark.parametrize("digest", ALL)
def test_defaults_and_the_other_files_values_written_out_change_nothing(
    project: Project, digest: Callable[[Experiment], str]
) -> None:
    before = digest(project.load())
    project.lora("  learning_rate: 2e-4\n  fp16: false\n  max_grad_norm: 1\n", "  learning_rate: 2e-4\n")
    project.lora("lora: {lora_alpha: 32, r: 16}\n", "data:\n  train_file: data.jsonl\n")
    project.pipeline("", "  base_model: org/model\n")
    project.pipeline("", "  checkpoint_dir: out/adapter\n")
    project.pipeline("task: scifact_claims\ntests:\n", "tests:\n")
    assert digest(project.load()) == before


@pytest.mark.parametrize("digest", ALL)
def test_places_of_output_change_nothing(project: Project, digest: Callable[[Experiment], str]) -> None:
    before = digest(project.load())
    project.pipeline("  checkpoint_dir: new\n  output_path: p.jsonl\n", "  checkpoint_dir: out/adapter\n")
    project.lora("  checkpoint_dir: new\n", "  checkpoint_dir: out/adapter\n")
    project.pipeline("runs_dir: new-runs\ntests:\n", "tests:\n")
    (project.root / "lora.yaml").rename(project.root / "renamed.yaml")
    project.pipeline("  config_path: renamed.yaml\n", "  config_path: lora.yaml\n")
    assert digest(project.load()) == before


def test_renaming_an_input_changes_nothing_but_its_content_does(project: Project) -> None:
    before = config(project.load())
    (project.root / "claims.jsonl").rename(project.root / "other.jsonl")
    project.pipeline("  claims_file: other.jsonl\n", "  claims_file: claims.jsonl\n")
    assert config(project.load()) == before
    project.write("other.jsonl", "{}\n")
    assert config(project.load()) != before


@pytest.mark.parametrize("name", ["data.jsonl", "claims.jsonl", "corpus.jsonl", "suite/test_ok.py", "suite/new.json"])
def test_the_content_of_every_input_is_in_the_config_fingerprint(project: Project, name: str) -> None:
    before = config(project.load())
    project.write(name, '{"changed": 1}\n')
    assert config(project.load()) != before


def _keys(model: type) -> list[str]:
    """Every key below a section, dotted."""
    return [
        ".".join([*map(str, path), name])
        for path, section in types.sections(model)
        for name, info in types.fields_of(section).items()
        if types.section_of(info.annotation) is None
    ]


# What a key is changed to where it is not simply another number, truth or word.
_OTHER: dict[str, Any] = {
    "pipeline.tests.path": Path("suite/test_ok.py"),
    "pipeline.tests.args": ("-x",),
    "pipeline.data_validation.path": Path("claims.jsonl"),
    "pipeline.data_validation.schema": (),
    "pipeline.data_validation.checks": {"THK-DATA-001": "off"},
    "pipeline.evaluation.claims_file": Path("corpus.jsonl"),
    "pipeline.evaluation.corpus_file": Path("claims.jsonl"),
    "pipeline.evaluation.data_file": Path("claims.jsonl"),
    "pipeline.data_validation.custom_checks": ("thinker.hashing:digest",),
    "pipeline.tests.inputs": (Path("suite/test_ok.py"),),
    "pipeline.evaluation.dtype": "float16",
    "lora.model.quantization": "4bit",
    "lora.model.device_map": None,
    "lora.model.device": "cpu",
    "lora.model.dtype": "float16",
    "lora.model.prompt_format": "chat",
    "lora.lora.bias": "all",
    "lora.lora.target_modules": "all-linear",
    "lora.lora.exclude_modules": ("o_proj",),
    "lora.lora.layers_to_transform": (1,),
    "lora.lora.rank_pattern": {"q_proj": 2},
    "lora.lora.alpha_pattern": {"q_proj": 2.0},
    "lora.lora.modules_to_save": ("lm_head",),
    "lora.training.optim_args": {"eps": 1e-7},
    "lora.training.lr_scheduler_kwargs": {"num_cycles": 2},
    "lora.training.neftune_noise_alpha": 5.0,
    "lora.training.on_overlong": "drop",
    "lora.training.determinism": "fast",
    "lora.training.bf16": True,
    "lora.data.train_file": Path("claims.jsonl"),
    "lora.data.validation_split": 0.5,
    "lora.output.eval_strategy": "epoch",
    "lora.output.save_strategy": "epoch",
    "lora.output.report_to": "wandb",
}
_NOT_IN_CONFIG = {
    "pipeline.training.config_path",
    "pipeline.evaluation.checkpoint_dir",
    "pipeline.evaluation.output_path",
    "pipeline.runs_dir",
    "lora.model.hf_token",
    "lora.output.checkpoint_dir",
    # There is only one value.
    "pipeline.evaluation.constrain",
}
_IN_TRAINING = {
    "pipeline.task",
    "pipeline.data_validation.max_examples",
    "pipeline.training.backend",
    *(f"lora.{key}" for key in _keys(Recipe) if not key.startswith("output.")),
} - {"lora.model.name", "lora.model.revision", "lora.model.hf_token", "lora.model.device_map", "lora.data.train_file"}
_IN_GATE = {
    *(f"pipeline.tests.{key}" for key in ("path", "markers", "args", "inputs", "enabled")),
    *(f"pipeline.data_validation.{key}" for key in ("schema", "max_examples", "checks", "custom_checks")),
    *(f"pipeline.evaluation.{key}" for key in ("claims_file", "corpus_file", "data_file")),
    "pipeline.task",
    *(f"lora.model.{key}" for key in ("name", "revision", "prompt_format")),
    *(f"lora.training.{key}" for key in ("max_seq_length", "on_overlong", "claim_c1_weight", "evidence_weight")),
    # How many rows are trained on, and in how many steps.
    *(f"lora.training.{key}" for key in ("num_epochs", "max_steps", "warmup_steps", "per_device_batch_size")),
    *("lora.training.gradient_accumulation_steps", "lora.data.validation_split", "lora.data.seed"),
}


def _changed(value: Any, steps: list[str], key: str, root: Path) -> Any:
    """`value` with the field at `steps` changed to something else that its type allows."""
    if not steps:
        if key in _OTHER:
            return root / _OTHER[key] if isinstance(_OTHER[key], Path) else _OTHER[key]
        if isinstance(value, bool):
            return not value
        if isinstance(value, float):
            return value / 2 if value else 0.25
        return value + 1 if isinstance(value, int) else "other" if isinstance(value, str) else None
    inner = _changed(getattr(value, steps[0]), steps[1:], key, root)
    if inner is None and len(steps) == 1 and getattr(value, steps[0]) is None:
        annotation = types.fields_of(type(value))[steps[0]].annotation
        inner = 7 if int in types.members(annotation) else "other"
    return dataclasses.replace(value, **{steps[0]: inner})


@pytest.mark.parametrize("key", [f"pipeline.{k}" for k in _keys(PipelineConfig)] + [f"lora.{k}" for k in _keys(Recipe)])
def test_each_key_changes_just_the_digests_that_rest_on_it(project: Project, key: str) -> None:
    if key.endswith((".hf_token", ".constrain", "checkpoint_dir", "output_path", "runs_dir", "config_path")):
        return
    before = project.load()
    file, *steps = key.split(".")
    part = "recipe" if file == "lora" else "pipeline"
    after = dataclasses.replace(before, **{part: _changed(getattr(before, part), steps, key, project.root)})
    assert (config(after) != config(before)) == (key not in _NOT_IN_CONFIG)
    assert (training(after) != training(before)) == (key in _IN_TRAINING)
    assert (gate(after) != gate(before)) == (key in _IN_GATE)


@pytest.mark.parametrize(
    "changed",
    [{"dataset_sha256": "e"}, {"model_identity": "n"}, {"versions": {**VERSIONS, "torch": "3"}}, {"world_size": 2}],
)
def test_what_training_is_told_is_in_its_fingerprint(project: Project, changed: dict[str, Any]) -> None:
    experiment = project.load()
    assert training(experiment, **changed) != training(experiment)


@pytest.mark.parametrize(
    "setting",
    ["training.early_stopping_patience=2", "training.load_best_model_at_end=true",
     "training.lr_scheduler_type=reduce_lr_on_plateau", "training.optim=schedule_free_adamw"],
)  # fmt: skip
def test_when_to_evaluate_counts_where_the_adapter_depends_on_it(project: Project, setting: str) -> None:
    held_out = ["data.validation_split=0.5"]
    plain = {training(project.load(overrides=[*held_out, f"output.eval_steps={n}"])) for n in (1, 2)}
    assert len(plain) == 1
    watched = {training(project.load(overrides=[*held_out, setting, f"output.eval_steps={n}"])) for n in (1, 2)}
    assert len(watched) == 2
    saves = {training(project.load(overrides=[*held_out, setting, f"output.save_steps={n}"])) for n in (1, 2)}
    assert len(saves) == 1


def test_thinkers_version_is_in_the_gate_digest(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    before = gate(project.load())
    monkeypatch.setattr(thinker, "__version__", "99.9")
    assert gate(project.load()) != before


@pytest.mark.parametrize(
    "name", ["data.jsonl", "claims.jsonl", "corpus.jsonl", "suite/test_ok.py", "suite/data/new.json"]
)
def test_the_gate_digest_holds_contents(project: Project, name: str) -> None:
    before = gate(project.load())
    project.write(name, "changed")
    assert gate(project.load()) != before


def test_evaluating_the_base_model_alone_is_in_the_config_fingerprint(project: Project) -> None:
    before = config(project.load("eval"))
    assert config(project.load("eval", overrides=["pipeline.evaluation.checkpoint_dir="])) != before


def test_settings_of_disabled_tests_do_not_touch_the_gate_digest(project: Project) -> None:
    off = ["pipeline.tests.enabled=false"]
    assert gate(project.load(overrides=off)) == gate(project.load(overrides=[*off, "pipeline.tests.markers=x"]))


def test_byproducts_of_running_tests_change_no_digest(project: Project) -> None:
    before = config(project.load()), gate(project.load())
    project.write("suite/__pycache__/test_ok.pyc", "x")
    project.write("suite/.pytest_cache/v", "x")
    project.write("suite/.hidden/v", "x")
    assert (config(project.load()), gate(project.load())) == before


def test_missing_inputs_of_the_evaluation_and_model_do_not_stop_the_gates_digest(project: Project) -> None:
    there = gate(project.load("validate"))
    (project.root / "claims.jsonl").unlink()
    experiment = project.load("validate", overrides=["model.name=gone.gguf"])
    assert gate(experiment) != there
    assert config(experiment) != config(project.load("validate"))


def test_weights_do_not_touch_the_gate_digest_but_the_tokenizer_does(project: Project) -> None:
    project.pipeline("", "  base_model: org/model\n")
    project.lora("  name: ./base\n", "  name: org/model\n")
    project.write("base/model.safetensors", "1")
    project.write("base/tokenizer.json", "1")
    before, fingerprint = gate(project.load()), config(project.load())
    project.write("base/model.safetensors", "2")
    assert gate(project.load()) == before
    assert config(project.load()) != fingerprint
    project.write("base/tokenizer.json", "2")
    assert gate(project.load()) != before


def test_a_training_fingerprint_needs_a_recipe(project: Project) -> None:
    project.pipeline("", "training:\n  backend: hf_peft\n  config_path: lora.yaml\n")
    experiment = project.load("validate")
    assert config(experiment)
    assert gate(experiment)
    with pytest.raises(ConfigError, match="needs a 'training' section"):
        training(experiment)


def test_a_pipeline_without_evaluation_has_its_digests(project: Project) -> None:
    project.pipeline(PIPELINE.partition("evaluation:")[0])
    experiment = project.load("train")
    assert len({config(experiment), training(experiment), gate(experiment)}) == 3


def test_the_identity_of_a_gguf_file_is_its_content(project: Project) -> None:
    path = project.write("model.gguf", "weights")
    assert model_identity(str(path), None) == {"kind": "gguf", "sha256": sha256_file(path)}


def test_the_identity_of_a_folder_is_its_files(project: Project) -> None:
    path = project.write("base/config.json", "{}")
    project.write("base/README.md", "about it")
    project.write("base/adapters/adapter_config.json", "{}")
    copy = shutil.copytree(project.root / "base", project.root / "copy")
    identity = model_identity(str(project.root / "base"), "ignored")
    assert identity == {"kind": "folder", "files": {"config.json": sha256_file(path)}}
    assert model_identity(str(copy), None) == identity


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"])
def test_the_identity_of_a_hub_model_is_the_commit_in_the_local_cache(
    project: Project, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(project.root / "cache"))
    monkeypatch.setenv("USERPROFILE", str(project.root / "cache"))
    below = {"HF_HOME": "hub/", "XDG_CACHE_HOME": "huggingface/hub/", "HOME": ".cache/huggingface/hub/"}
    folder = f"cache/{below.get(variable, '')}models--org--model/refs"
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert model_identity("org/model", None) == {"kind": "hub", "id": "org/model", "revision": None}
    assert model_identity("org/model", "v1")["revision"] == "v1"
    project.write(f"{folder}/main", commit)
    project.write(f"{folder}/v1", commit.replace("0", "f") + "\n")
    project.write(f"{folder}/broken", "no commit")
    assert model_identity("org/model", None)["revision"] == commit
    assert model_identity("org/model", "v1")["revision"] == commit.replace("0", "f")
    assert model_identity("org/model", "broken")["revision"] == "broken"
    assert model_identity("org/model", commit)["revision"] == commit


def test_the_hub_cache_does_not_touch_the_config_fingerprint(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(project.root / "cache"))
    before = config(project.load())
    project.write("cache/models--org--model/refs/main", "0" * 40)
    assert config(project.load()) == before


def test_the_resolved_configuration_is_json_with_absolute_paths_and_defaults(project: Project) -> None:
    resolved = resolved_config(project.load(overrides=["training.num_epochs=1"]))
    root = project.root.resolve()
    assert resolved["config_path"] == str(root / "pipeline.yaml")
    assert resolved["pipeline"]["tests"]["path"] == str(root / "suite")
    assert resolved["pipeline"]["evaluation"]["temperature"] == 0.7
    assert resolved["lora"]["training"]["num_epochs"] == 1
    assert resolved["lora"]["output"]["checkpoint_dir"] == str(root / "out" / "adapter")
    assert resolved["overrides"] == ["training.num_epochs=1"]
