from __future__ import annotations

import json
from typing import Any

import pytest
from config_project import Project
from hypothesis import given
from hypothesis import strategies as st

from thinker.config import PipelineConfig, Recipe, SchemaField
from thinker.config import model_types as types
from thinker.config.overrides import Override, parse_override
from thinker.errors import ConfigError


def test_a_key_of_the_lora_file_is_overridden(project: Project) -> None:
    recipe = project.load(overrides=["training.learning_rate=1e-4"]).recipe
    assert recipe is not None
    assert recipe.training.learning_rate == 1e-4


def test_a_key_of_the_pipeline_file_is_overridden(project: Project) -> None:
    evaluation = project.load(overrides=["pipeline.evaluation.max_samples=5"]).pipeline.evaluation
    assert evaluation is not None
    assert evaluation.max_samples == 5


def test_training_without_prefix_is_that_of_the_lora_file(project: Project) -> None:
    assert project.problem(overrides=["training.backend=x"]) == (
        "--set training.backend=x: training.backend: unknown key;"
        " 'backend' belongs in 'training' of the pipeline file or in 'evaluation' of the pipeline file"
    )


def test_the_later_override_wins_and_all_are_kept_in_order(project: Project) -> None:
    overrides = ("training.num_epochs=1", "training.num_epochs=2")
    experiment = project.load(overrides=overrides)
    assert experiment.recipe is not None
    assert experiment.recipe.training.num_epochs == 2
    assert experiment.overrides == overrides


def test_a_section_that_is_missing_is_made(project: Project) -> None:
    recipe = project.load(overrides=["lora.r=4", "lora.bias=all"]).recipe
    assert recipe is not None
    assert (recipe.lora.r, recipe.lora.bias) == (4, "all")


def test_a_whole_section_is_replaced(project: Project) -> None:
    recipe = project.load(overrides=["training={num_epochs: 1}"]).recipe
    assert recipe is not None
    assert recipe.training.num_epochs == 1


def test_an_index_selects_or_appends_an_item_of_a_list(project: Project) -> None:
    project.pipeline("  path: data.jsonl\n  schema: [{name: a}, {name: b}]\n", "  path: data.jsonl\n")
    overrides = ["pipeline.data_validation.schema.0.type=string", "pipeline.data_validation.schema.2.name=c"]
    schema = project.load(overrides=overrides).pipeline.data_validation.schema
    assert schema is not None
    assert [(item.name, item.type) for item in schema] == [("a", "string"), ("b", "any"), ("c", "any")]


def test_index_0_makes_a_list(project: Project) -> None:
    schema = project.load(overrides=["pipeline.data_validation.schema.0.name=a"]).pipeline.data_validation.schema
    assert schema is not None
    assert schema[0].name == "a"


def test_nothing_after_the_sign_is_null(project: Project) -> None:
    assert project.load("eval", overrides=["pipeline.evaluation.checkpoint_dir="]).evaluate_base_only is True


def test_a_value_may_hold_the_sign(project: Project) -> None:
    assert project.load(overrides=["pipeline.tests.args=['-k=a']"]).pipeline.tests.args == ("-k=a",)


def test_a_relative_path_starts_from_the_current_folder(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    here = project.root.resolve() / "suite"
    monkeypatch.chdir(here)
    project.write("suite/other.jsonl", (project.root / "data.jsonl").read_text(encoding="utf-8"))
    experiment = project.load(
        overrides=[
            "pipeline.data_validation.path=other.jsonl",
            "pipeline.tests={path: test_ok.py}",
            "output.checkpoint_dir=adapter",
            "pipeline.evaluation.checkpoint_dir=",
        ]
    )
    assert experiment.dataset.paths == (here / "other.jsonl",)
    assert experiment.pipeline.tests.path == here / "test_ok.py"
    assert experiment.checkpoint_dir == here / "adapter"


def test_a_file_named_by_an_override_keeps_its_own_folder_for_its_paths(project: Project) -> None:
    project.write("recipes/small.yaml", "model: {name: org/model}\ndata: {train_file: ../data.jsonl}\n")
    experiment = project.load(overrides=["pipeline.training.config_path=recipes/small.yaml"])
    assert experiment.recipe is not None
    assert experiment.recipe.data.train_file == project.root.resolve() / "data.jsonl"


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("pipeline.evaluation.max_sample=5", "evaluation.max_sample: unknown key, did you mean 'max_samples'?"),
        ("training.learning_rate='2e-4'", "training.learning_rate: expected a number, got text '2e-4' (remove the"),
        ("training.learning_rate=-1", "training.learning_rate: must be greater than 0, got the number -1"),
        ("pipeline.tests.path=gone", "tests.path: no such file or folder: gone (resolved: "),
        ("pipeline.task=nothing", "task: unknown task 'nothing'"),
        ("training={num_epoch: 1}", "training.num_epoch: unknown key, did you mean 'num_epochs'?"),
        ("pipeline.data_validation.schema.0.nam=x", "data_validation.schema[0].nam: unknown key, did you mean 'name'?"),
        ("evaluation.max_samples=5", "a key of the pipeline file: write pipeline.evaluation.max_samples"),
        ("training.learning_rate", "write KEY=VALUE, for example training.learning_rate=1e-4"),
        ("=5", "write KEY=VALUE"),
        ("training..fp16=true", "write KEY=VALUE"),
        ("pipeline=5", "write KEY=VALUE"),
        ("training.fp16=[", "bad YAML: "),
        ("training.fp16=!x 1", "the tag '!x' is not allowed; write the plain value"),
        ("model.name.first=x", "'model.name' is a single value and has no key 'first'"),
        ("pipeline.data_validation.path.0=x", "'data_validation.path' is a single value and has no key '0'"),
    ],
)
def test_a_mistake_points_to_the_expression(project: Project, expression: str, problem: str) -> None:
    assert any(line.startswith(f"--set {expression}: {problem}") for line in project.problems(overrides=[expression]))


def test_a_replaced_section_is_told_by_the_expression_that_replaced_it(project: Project) -> None:
    problem = project.problem(overrides=["training.num_epochs=x", "training={num_epochs: y}"])
    assert problem.startswith("--set training={num_epochs: y}: training.num_epochs: expected a number, got text 'y'")


def test_a_section_made_by_an_override_is_told_by_its_expression(project: Project) -> None:
    project.lora("", "output:\n  checkpoint_dir: out/adapter\n")
    assert project.problem("validate", overrides=["lora.r.x=1"]) == (
        "--set lora.r.x=1: lora.r: expected an integer, got keys and values"
    )


def test_an_index_beyond_the_list_is_told(project: Project) -> None:
    project.lora("training: {}\nlora: {target_modules: [a, b]}\n", "training:\n  learning_rate: 2e-4\n")
    for index in ("3", "-1", "x"):
        assert project.problem(overrides=[f"lora.target_modules.{index}=c"]) == (
            f"--set lora.target_modules.{index}=c: 'lora.target_modules' is a list of 2; '{index}' is no index of it"
        )


def test_a_key_of_a_lora_file_that_is_not_read_is_told(project: Project) -> None:
    project.pipeline("", "training:\n  backend: hf_peft\n  config_path: lora.yaml\n")
    assert project.problem("validate", overrides=["training.fp16=true"]) == (
        "--set training.fp16=true: without a 'training' section in the pipeline file, no LoRA file is read"
    )


def test_all_mistakes_of_files_and_overrides_are_told_at_once(project: Project) -> None:
    project.pipeline("zzz: 1\ntests:\n", "tests:\n")
    problems = project.problems(overrides=["lora.r=x", "pipeline.evaluation.seed=y", "nonsense"])
    assert sorted(problem.split(": ")[0] for problem in problems) == [
        "--set lora.r=x",
        "--set nonsense",
        "--set pipeline.evaluation.seed=y",
        "pipeline.yaml:1:1",
    ]


_KEYS = [
    prefix + ".".join([*map(str, path), name])
    for prefix, model in (("pipeline.", PipelineConfig), ("", Recipe))
    for path, section in types.sections(model)
    for name in types.fields_of(section)
] + [f"pipeline.data_validation.schema.0.{name}" for name in types.fields_of(SchemaField)]
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["a/b", "~", "."]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "path", "type", "enum", "zzz"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def shared_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("shared"))


@given(key=st.sampled_from(_KEYS), value=_VALUES)
def test_whatever_a_key_is_set_to_the_outcome_is_an_experiment_or_lines_that_tell_why(
    shared_project: Project, key: str, value: Any
) -> None:
    text = json.dumps(value).replace("NaN", ".nan").replace("Infinity", ".inf")
    problems: tuple[str, ...] = ("",)
    try:
        shared_project.load(overrides=[f"{key}={text}"])
    except ConfigError as error:
        problems = error.problems
    assert problems
    assert all(line.isprintable() for line in problems)


_plain_values = st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False)


@given(steps=st.lists(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), min_size=2, max_size=4), value=_plain_values)
def test_any_expression_gives_back_its_keys_and_value(steps: list[str], value: Any) -> None:
    text = {None: "null", True: "true", False: "false"}.get(value) if value is None or value in (True, False) else None
    parsed = parse_override(f"pipeline.{'.'.join(steps)}={repr(value) if text is None else text}")
    assert isinstance(parsed, Override)
    assert parsed.steps == tuple(steps)
    assert parsed.value == value
