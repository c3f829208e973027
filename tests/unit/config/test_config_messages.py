from __future__ import annotations

import pytest
from config_project import Project

PIPELINE = """\
tests: {path: suite}
data_validation:
  path: data.jsonl
training:
  config_path: lora.yaml
evaluation:
  base_model: org/model
  claims_file: claims.jsonl
  corpus_file: corpus.jsonl
"""
LORA = """\
model: {name: org/model}
output: {checkpoint_dir: out}
"""


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("  max_sample: 5", ":10:3: evaluation.max_sample: unknown key, did you mean 'max_samples'?"),
        ("  Max-Samples: 5", ":10:3: evaluation.Max-Samples: unknown key, did you mean 'max_samples'?"),
        (
            "  max_examples: 5",
            ":10:3: evaluation.max_examples: unknown key; 'max_examples' belongs in 'data_validation'."
            " Did you mean 'max_samples'?",
        ),
        (
            "  learning_rate: 5",
            ":10:3: evaluation.learning_rate: unknown key; 'learning_rate' belongs in 'training' of the LoRA file",
        ),
        ("  markers: x", ":10:3: evaluation.markers: unknown key; 'markers' belongs in 'tests'"),
        (
            "  allow_empty: true",
            ":10:3: evaluation.allow_empty: unknown key; 'allow_empty' belongs in 'data_validation.schema[]'",
        ),
        ("zzz: 5", ":10:1: zzz: unknown key (known here: tests, data_validation, training, evaluation,"),
        ("markers: x", ":10:1: markers: unknown key; 'markers' belongs in 'tests'"),
        (
            "model: {}",
            ":10:1: model: unknown key; 'model' belongs at the top of the LoRA file",
        ),
        ("  temperature: '2e-4'",
         ":10:16: evaluation.temperature: expected a number, got text '2e-4' (remove the quotes)"),
        ("  temperature: -1", ":10:16: evaluation.temperature: must be at least 0, got the number -1"),
        ("  temperature: .nan", ":10:16: evaluation.temperature: must be finite, got the number nan"),
        ("  temperature: true", ":10:16: evaluation.temperature: expected a number, got true"),
        ("  top_p: 0", ":10:10: evaluation.top_p: must be greater than 0, got the number 0"),
        ("  top_p: 1.5", ":10:10: evaluation.top_p: must be at most 1, got the number 1.5"),
        ("  seed: 1.0", ":10:9: evaluation.seed: expected an integer, got the number 1.0 (write 1)"),
        ("  seed: 1.5", ":10:9: evaluation.seed: expected an integer, got the number 1.5"),
        ("  seed: 1_000", ":10:9: evaluation.seed: expected an integer, got text '1_000' (write 1000)"),
        ("  seed: [1]", ":10:9: evaluation.seed: expected an integer, got a list"),
        ("  seed: {a: 1}", ":10:9: evaluation.seed: expected an integer, got keys and values"),
        ("  seed:", ":10:3: evaluation.seed: expected an integer, got null (leave the key out for its default, 0)"),
        ("  compare_base: yes", ":10:17: evaluation.compare_base: expected true or false, got text 'yes' (write true)"),
        ("  compare_base: 'true'", ":10:17: evaluation.compare_base: expected true or false, got text 'true' (remove"),
        ("  backend: 3", ":10:12: evaluation.backend: expected text, got the number 3 (put it in quotes)"),
        (
            "  dtype: bfloat",
            ":10:10: evaluation.dtype: expected one of 'auto', 'float32', 'bfloat16', 'float16', got text 'bfloat',"
            " did you mean 'bfloat16'?",
        ),
        ("  output_path: 3", ":10:16: evaluation.output_path: expected a path, got the number 3"),
        ("  output_path: ''", ":10:16: evaluation.output_path: is empty"),
        ("runs_dir: [a]", ":10:11: runs_dir: expected a path, got a list"),
        ("task: scifact_claim", ":10:7: task: unknown task 'scifact_claim', did you mean 'scifact_claims'? (known: "),
    ],
)  # fmt: skip
def test_each_mistake_in_the_pipeline_file_is_told_with_its_place(project: Project, lines: str, problem: str) -> None:
    project.pipeline(PIPELINE + lines + "\n")
    project.lora(LORA)
    assert project.problem().startswith(f"pipeline.yaml{problem}")


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("lora: {r: true}", ":3:11: lora.r: expected an integer, got true"),
        ("lora: {r: 0}", ":3:11: lora.r: must be greater than 0, got the number 0"),
        ("lora: {lora_dropout: 1}", ":3:22: lora.lora_dropout: must be less than 1, got the number 1"),
        ("lora: {target_modules: [a, 3]}", ":3:28: lora.target_modules[1]: expected text, got the number 3 (put it in"),
        ("lora: {target_modules: 3}", ":3:24: lora.target_modules: expected a list of text or text, got the number 3"),
        ("lora: {target_modules: []}", ":3:24: lora.target_modules: is empty: no layer would get an adapter"),
        ("lora: {target_modules: '(q'}", ":3:24: lora.target_modules: not a regular expression: missing )"),
        ("lora: {bias: al}", ":3:14: lora.bias: expected one of 'none', 'all', 'lora_only', got text 'al', did you"),
        ("lora: {bias: 1}", ":3:14: lora.bias: expected one of 'none', 'all', 'lora_only', got the number 1"),
        ("lora: 16", ":3:7: lora: expected keys and values, got the number 16"),
        ("lora:", ":3:1: lora: expected keys and values, got null (leave the key out for its default)"),
        ("training: {learning_rate: 0}", ":3:27: training.learning_rate: must be greater than 0, got the number 0"),
        ("training:\n  fp16: true\n  bf16: true", ":5:9: training.bf16: fp16 and bf16 exclude each other"),
        ("training: {batch_size: 2}", ":3:12: training.batch_size: unknown key; 'batch_size' belongs in"),
        ("data: {seed: 4294967296}", ":3:14: data.seed: must be less than 4294967296, got the number 4294967296"),
        ("data: {validation_split: 1.0}", ":3:26: data.validation_split: must be less than 1, got the number 1.0"),
        ("data: {train_file: no.jsonl}", ":3:20: data.train_file: no such file: no.jsonl (resolved: "),
        ("tests: {}", ":3:1: tests: unknown key; 'tests' belongs at the top of the pipeline file"),
    ],
)  # fmt: skip
def test_each_mistake_in_the_lora_file_is_told_with_its_place(project: Project, lines: str, problem: str) -> None:
    project.pipeline(PIPELINE)
    project.lora(LORA + lines + "\n")
    assert project.problem().startswith(f"lora.yaml{problem}")


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ("{}", ":1:1: model.name: required, but missing"),
        ("{name: 1e3}", ":1:15: model.name: expected text, got the number 1000.0 (put it in quotes)"),
        ("{name: a, device: gpu}", ":1:26: model.device: expected `auto` (CUDA, then MPS, then CPU), `cpu`, `cuda`,"),
        ("{name: a, device_map: {x: [1]}}", ":1:34: model.device_map.x: expected text or an integer, got a list"),
        ("{name: a, device_map: 5}", ":1:30: model.device_map: expected text or keys and values, got the number 5"),
        ("{name: a, quantization: 4 bit}", ":1:32: model.quantization: expected one of '4bit', '8bit', 'none', got"),
    ],
)
def test_each_mistake_about_the_model_is_told_with_its_place(project: Project, model: str, problem: str) -> None:
    project.pipeline(PIPELINE, None)
    project.pipeline("", "  base_model: org/model\n")
    project.lora(f"model: {model}\noutput: {{checkpoint_dir: out}}\n")
    assert project.problem().startswith(f"lora.yaml{problem}")


def schema_problems(project: Project, fields: str) -> list[str]:
    project.pipeline(f"  path: data.jsonl\n  schema:\n{fields}\n", "  path: data.jsonl\n")
    return project.problems("validate")


@pytest.mark.parametrize(
    ("field", "column", "problem"),
    [
        ("{type: string}", 7, ".name: required, but missing"),
        ("{name: ''}", 14, ".name: is empty"),
        ("{name: x, type: strin}", 23, ".type: expected one of 'string', 'integer', 'number',"
         " 'boolean', 'object', 'array', 'null', 'any' or a list of them, got text 'strin', did you mean 'string'?"),
        ("{name: x, type: [string, strin]}", 32, ".type[1]: expected one of 'string',"),
        ("{name: x, type: []}", 23, ".type: is empty; name at least one type"),
        ("{name: x, pattern: '['}", 26, ".pattern: not a regular expression: unterminated"),
        ("{name: x, min: 3, max: 2}", 30, ".max: 2 is less than min, 3: no value would pass"),
        ("{name: x, min_length: 3, max_length: 2}", 44, ".max_length: 2 is less than min_length"),
        ("{name: x, min_length: -1}", 29, ".min_length: must be at least 0"),
        ("{name: x, enum: []}", 23, ".enum: is empty: no value would pass"),
        ("{name: x, enum: [[1]]}", 24, ".enum[0]: expected text, an integer, a number or true or"),
        ("{name: x, type: integer, enum: [1, 1.0, a]}", 47, ".enum[2]: is no value of type integer"),
        ("{name: x, type: number, enum: [true]}", 38, ".enum[0]: is no value of type number"),
        ("{name: x, type: string, min: 1}", 31, ".min: applies to integer and number, but the"
         " field's type is string"),
        ("{name: x, type: integer, pattern: a}", 32, ".pattern: applies to string"),
        ("{name: x, type: string, items: {name: i}}", 31, ".items: applies to array"),
        ("{name: x, type: [string, 'null'], fields: []}", 41, ".fields: applies to object"),
        ("{name: x, items: {name: i, unique: true}}", 42, ".items.unique: compares rows"),
        ("{name: x, items: {name: i, pattern: '('}}", 43, ".items.pattern: not a regular"),
        ("{name: x, fields: [{nam: y}]}", 27, ".fields[0].nam: unknown key, did you mean 'name'?"),
        ("text", 7, ": expected keys and values, got text 'text'"),
    ],
)  # fmt: skip
def test_each_mistake_in_a_schema_field_is_told_with_its_place(
    project: Project, field: str, column: int, problem: str
) -> None:
    expected = f"pipeline.yaml:6:{column}: data_validation.schema[0]{problem}"
    problems = schema_problems(project, f"    - {field}")
    assert any(line.startswith(expected) for line in problems), problems


def test_two_fields_of_one_name_are_told_at_each_depth(project: Project) -> None:
    fields = "    - {name: a}\n    - {name: a}\n    - {name: b, fields: [{name: c}, {name: c}]}"
    assert schema_problems(project, fields) == [
        "pipeline.yaml:7:14: data_validation.schema[1].name: 'a' is already the name of data_validation.schema[0]",
        "pipeline.yaml:8:44: data_validation.schema[2].fields[1].name: 'c' is already the name of"
        " data_validation.schema[2].fields[0]",
    ]


def test_a_schema_without_fields_is_told(project: Project) -> None:
    project.pipeline("  path: data.jsonl\n  schema: []\n", "  path: data.jsonl\n")
    assert project.problem("validate").startswith("pipeline.yaml:5:11: data_validation.schema: is empty")


def test_a_sound_schema_passes(project: Project) -> None:
    field = "{name: x, type: [integer, 'null'], min: 1, max: 1, enum: [1, 1.0, null], unique: true}"
    project.pipeline(f"  path: data.jsonl\n  schema:\n    - {field}\n", "  path: data.jsonl\n")
    schema = project.load().pipeline.data_validation.schema
    assert schema is not None
    assert schema[0].enum == (1, 1.0, None)


def test_a_check_level_is_one_of_three(project: Project) -> None:
    project.pipeline("  path: data.jsonl\n  checks: {THK-DATA-1: err}\n", "  path: data.jsonl\n")
    assert project.problem("validate").startswith(
        "pipeline.yaml:5:24: data_validation.checks.THK-DATA-1: expected one of 'error', 'warn', 'off', got text 'err'"
    )


def test_all_mistakes_of_both_files_are_told_at_once_from_top_to_bottom(project: Project) -> None:
    project.pipeline("tests:\n  path: nowhere\n  marker: x\n", "tests:\n  path: suite\n")
    project.pipeline("  backend: hf_pfet\n", "  backend: hf_peft\n")
    project.pipeline("  claims_file: no.jsonl\n  temperature: cold\n", "  claims_file: claims.jsonl\n")
    project.lora("  name: [a]\n  name: b\n", "  name: org/model\n")
    project.lora("  learning_rate: fast\n  fp16: true\n  bf16: true\n", "  learning_rate: 2e-4\n")
    project.lora("  train_file: no.jsonl\n", "  train_file: data.jsonl\n")
    assert [problem.split(": ")[0:2] for problem in project.problems()] == [
        ["pipeline.yaml:2:9", "tests.path"],
        ["pipeline.yaml:3:3", "tests.marker"],
        ["pipeline.yaml:7:12", "training.backend"],
        ["pipeline.yaml:12:16", "evaluation.claims_file"],
        ["pipeline.yaml:13:16", "evaluation.temperature"],
        ["lora.yaml:2:9", "model.name"],
        ["lora.yaml:3:3", "model.name"],
        ["lora.yaml:5:18", "training.learning_rate"],
        ["lora.yaml:7:9", "training.bf16"],
        ["lora.yaml:9:15", "data.train_file"],
    ]


def test_bad_yaml_in_either_file_is_one_line(project: Project) -> None:
    project.lora("model: {name: a\n")
    assert project.problem().startswith("lora.yaml:2:1: bad YAML: ")
    project.pipeline("task: a: b\n" + PIPELINE)
    assert project.problem().startswith("pipeline.yaml:1:8: bad YAML: ")


def test_a_long_value_is_shortened(project: Project) -> None:
    project.pipeline(PIPELINE + f"  seed: {'x' * 500}\n")
    assert f"got text '{'x' * 60}…'" in project.problems()[0]


def test_control_characters_of_a_value_do_not_reach_the_terminal(project: Project) -> None:
    project.pipeline(PIPELINE + '  seed: "\\e[31mred\\n"\n')
    project.lora(LORA)
    assert r"got text '\x1b[31mred '" in project.problem()
