"""Each check that counts tokens, by one planted defect: its code, its line, its field; and none in clean rows."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.project import Project, jsonl
from support.tiny_model import make_tiny_model

from thinker import plugins
from thinker.config import load_experiment
from thinker.validation.checks.tokens import token_checks
from thinker.validation.codes import levels
from thinker.validation.preflight import run_preflight
from thinker.validation.problems import Problem
from thinker.validation.report import Report

RAW = "THK-DATA-0"
LINE = 4
Row = dict[str, Any]


def check(project: Project, *overrides: str) -> tuple[list[Problem], Mapping[str, Any]]:
    """What the token checks find in the project's dataset, and their figures."""
    experiment = load_experiment(project.root / "pipeline.yaml", overrides=overrides)
    task = plugins.resolve("tasks", experiment.pipeline.task)()
    config = experiment.pipeline.data_validation
    report = Report(experiment.dataset, levels(config.checks))
    result = run_preflight(
        experiment.dataset,
        task,
        token_checks(experiment, task, project.root / "cache"),
        report,
        max_examples=config.max_examples,
        expected_sha256=experiment.dataset.sha256(),
    )
    return [*report.errors, *report.warnings], result.statistics


def rows_of(project: Project) -> list[Row]:
    return [json.loads(line) for line in (project.root / "data/train.jsonl").read_text(encoding="utf-8").splitlines()]


def plant(project: Project, row: Row) -> None:
    """Put `row` in place of the one at line 4."""
    rows = rows_of(project)
    rows[LINE - 1] = row
    project.write("data/train.jsonl", jsonl(rows))


def only(problems: list[Problem]) -> Problem:
    assert len(problems) == 1, [str(problem) for problem in problems]
    return problems[0]


def place(problem: Problem) -> tuple[str, str, int | None, str]:
    return problem.code, problem.level, problem.line, problem.field


def own_model(project: Project, tiny_model: Path) -> Path:
    """A copy of the tiny model for this project alone, to be changed."""
    folder = shutil.copytree(tiny_model, project.root / "model")
    project.replace("lora.yaml", tiny_model.as_posix(), folder.as_posix())
    return folder


def change(path: Path, **values: Any) -> None:
    found = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**found, **values}), encoding="utf-8")


def chat_rows(project: Project, answer: str = "Paris") -> None:
    rows = [
        {"messages": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": answer}]}
        for row in rows_of(project)
    ]
    project.write("data/train.jsonl", jsonl(rows))


def test_clean_rows_give_nothing(project: Project) -> None:
    problems, statistics = check(project)
    assert problems == []
    assert statistics["tokens"]["rows"] == 10


def test_without_a_recipe_nothing_is_checked(project: Project) -> None:
    project.replace("pipeline.yaml", "training:\n  backend: hf_peft\n  config_path: lora.yaml\n", "")
    experiment = load_experiment(project.root / "pipeline.yaml")
    assert token_checks(experiment, plugins.resolve("tasks", "prompt_completion")(), project.root) == []


LONG = {"prompt": "one two three " * 60, "completion": "four"}


@pytest.mark.parametrize(
    ("policy", "level", "says"),
    [
        ("error", "error", "tokens, "),
        ("drop", "warn", "the row is dropped"),
        ("truncate_prompt", "warn", "are cut from the prompt's left"),
    ],
)
def test_an_overlong_row_is_an_error_or_as_the_recipe_says(
    project: Project, policy: str, level: str, says: str
) -> None:
    plant(project, LONG)
    found = only(check(project, f"training.on_overlong={policy}")[0])
    assert place(found) == ("THK-DATA-060", level, LINE, "")
    assert says in found.message
    assert "more than training.max_seq_length (128)" in found.message


def test_a_completion_that_alone_is_too_long_is_an_error_under_truncation_too(project: Project) -> None:
    plant(project, {"prompt": "p", "completion": "one two three " * 60})
    found = only(check(project, "training.on_overlong=truncate_prompt")[0])
    assert place(found) == ("THK-DATA-060", "error", LINE, "")
    assert "the completion alone has" in found.message


@pytest.mark.parametrize("level", ["error", "off"])
def test_the_users_level_for_overlong_rows_counts_under_any_policy(project: Project, level: str) -> None:
    plant(project, LONG)
    project.replace("pipeline.yaml", "train.jsonl\n", f"train.jsonl\n  checks: {{THK-DATA-060: {level}}}\n")
    problems, _ = check(project, "training.on_overlong=drop")
    assert [problem.level for problem in problems] == (["error"] if level == "error" else [])


def test_an_empty_completion_teaches_nothing(project: Project) -> None:
    plant(project, {"prompt": "one two", "completion": ""})
    experiment_schema = "train.jsonl\n  checks: {THK-DATA-012: warn}\n"
    project.replace("pipeline.yaml", "train.jsonl\n", experiment_schema)
    found = [problem for problem in check(project)[0] if problem.rule == "nothing-to-learn"]
    assert place(only(found)) == ("THK-DATA-061", "error", LINE, "completion")


def test_a_completion_whose_every_token_weighs_nothing_is_warned_about(project: Project) -> None:
    project.replace("pipeline.yaml", "task: prompt_completion", "task: scifact_claims")
    evidence = "CLAIM[c1]: a\nCLAIM[c2] (Document 1): b\nRELATION: c2 supports c1"
    rows = [{"prompt": "p q", "completion": evidence} for _ in range(6)]
    project.write("data/train.jsonl", jsonl(rows))
    plant(project, {"prompt": "p q", "completion": "CLAIM[c1]: a"})
    assert check(project)[0] == []
    found = only(check(project, "training.claim_c1_weight=0", "training.evidence_weight=0")[0])
    assert place(found) == ("THK-DATA-061", "warn", LINE, "completion")
    assert "weigh 0" in found.message


@pytest.mark.parametrize(
    ("field", "row", "says"),
    [
        ("prompt", {"prompt": "one <|im_end|> two", "completion": "x"}, "'<|im_end|>' at character 4 becomes special"),
        ("completion", {"prompt": "one", "completion": "x<|eos|> y<|pad|>"}, "'<|eos|>' at character 1"),
        ("completion", {"prompt": "one", "completion": "x<|eos|>"}, "stands there twice"),
    ],
)
def test_a_special_token_in_the_text_is_named_with_its_place(project: Project, field: str, row: Row, says: str) -> None:
    plant(project, row)
    found = only(check(project)[0])
    assert place(found) == ("THK-DATA-063", "warn", LINE, field)
    assert says in found.message


def test_a_special_token_in_a_message_is_named_by_the_messages_place(project: Project) -> None:
    chat_rows(project)
    content = [{"role": "system", "content": "s"}, {"role": "user", "content": "a<|im_end|>"}]
    plant(project, {"messages": [*content, {"role": "assistant", "content": "<|pad|>"}]})
    found = [problem for problem in check(project, "model.prompt_format=chat")[0] if problem.line == LINE]
    assert [place(problem) for problem in found] == [
        ("THK-DATA-063", "warn", LINE, "messages[2].content"),
        ("THK-DATA-063", "warn", LINE, "messages[1].content"),
    ]


def bos_project(project: Project, tiny_model: Path, tmp_path: Path) -> None:
    project.replace("lora.yaml", tiny_model.as_posix(), make_tiny_model(tmp_path / "bos", bos=True).as_posix())


def test_a_doubled_bos_is_an_error_and_a_single_one_is_not(project: Project, tiny_model: Path, tmp_path: Path) -> None:
    bos_project(project, tiny_model, tmp_path)
    plant(project, {"prompt": "<|bos|>one two", "completion": "x"})
    assert check(project)[0] == []
    plant(project, {"prompt": "<|bos|><|bos|>one two", "completion": "x"})
    double, special = check(project)[0]
    assert place(double) == ("THK-DATA-064", "error", LINE, "")
    assert "'<|bos|>' twice" in double.message
    assert place(special) == ("THK-DATA-063", "warn", LINE, "prompt")


def test_a_seam_that_would_be_cut_otherwise_is_always_counted_and_told_where_asked(project: Project) -> None:
    plant(project, {"prompt": "What is the capit", "completion": "al of France?"})
    problems, statistics = check(project)
    assert problems == []
    assert statistics["tokens"]["boundary_rows"] == 1
    assert statistics["tokens"]["first_boundary"]["line"] == LINE
    project.replace("pipeline.yaml", "train.jsonl\n", "train.jsonl\n  checks: {THK-DATA-065: warn}\n")
    assert place(only(check(project)[0])) == ("THK-DATA-065", "warn", LINE, "")


def test_only_the_characters_around_the_seam_are_looked_at_and_suffice(project: Project) -> None:
    plant(project, {"prompt": "one two " * 20 + "capit", "completion": "al two" + " one two" * 4})
    assert check(project)[1]["tokens"]["boundary_rows"] == 1
    plant(project, {"prompt": "one two " * 20 + "capital", "completion": " two" + " one two" * 4})
    assert check(project)[1]["tokens"]["boundary_rows"] == 0


def test_chat_without_a_template_is_an_error_of_the_whole(project: Project, tiny_model: Path) -> None:
    (own_model(project, tiny_model) / "chat_template.jinja").unlink()
    found = only(check(project, "model.prompt_format=chat")[0])
    assert place(found) == ("THK-DATA-066", "error", None, "")
    assert check(project)[0] == []


def test_a_conversation_in_raw_format_cannot_be_read_as_an_example(project: Project) -> None:
    messages = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    plant(project, {"messages": messages})
    found = only(check(project)[0])
    assert place(found) == ("THK-DATA-050", "error", LINE, "")
    assert "model.prompt_format: chat" in found.message


def test_a_completion_that_the_task_cannot_weigh_cannot_be_read_as_an_example(project: Project) -> None:
    project.write("weighs.py", WEIGHS)
    project.replace("pipeline.yaml", "task: prompt_completion", "task: weighs:Weighs")
    plant(project, {"prompt": "one", "completion": "no line"})
    found = only(check(project)[0])
    assert place(found) == ("THK-DATA-050", "error", LINE, "")
    assert "no weight for it" in found.message


WEIGHS = """
from thinker.tasks.prompt_completion import PromptCompletion

class Weighs(PromptCompletion):
    name = "weighs"

    def weight_spans(self, completion, weights):
        if completion == "no line":
            raise ValueError("no weight for it")
        return ()
"""


def test_what_the_chat_template_refuses_cannot_be_read_as_an_example(project: Project, tiny_model: Path) -> None:
    template = own_model(project, tiny_model) / "chat_template.jinja"
    refusal = "{% if messages[0].content == 'no' %}{{ raise_exception('not this') }}{% endif %}"
    template.write_text(refusal + template.read_text(encoding="utf-8").replace("im_end", "eos"), encoding="utf-8")
    plant(project, {"prompt": "no", "completion": "x"})
    found = only(check(project, "model.prompt_format=chat")[0])
    assert place(found) == ("THK-DATA-050", "error", LINE, "")
    assert "refuses the row: not this" in found.message


def test_a_template_that_ends_answers_otherwise_is_told_once(project: Project, tiny_model: Path) -> None:
    found = only(check(project, "model.prompt_format=chat")[0])
    assert place(found) == ("THK-DATA-062", "warn", None, "")
    assert "teaches the tokenizer's '<|eos|>' as the end of an answer" in found.message
    assert "the chat template ends it with '<|im_end|>'" in found.message
    folder = own_model(project, tiny_model)
    change(folder / "tokenizer_config.json", eos_token="<|im_end|>")
    change(folder / "generation_config.json", eos_token_id=[2, 4])
    assert check(project, "model.prompt_format=chat")[0] == []


@pytest.mark.parametrize("name", ["generation_config.json", "config.json"])
def test_an_end_that_generation_does_not_stop_at_is_told_once(project: Project, tiny_model: Path, name: str) -> None:
    folder = own_model(project, tiny_model)
    if name == "config.json":
        (folder / "generation_config.json").unlink()
    change(folder / name, eos_token_id=[3, 4])
    found = only(check(project)[0])
    assert place(found) == ("THK-DATA-062", "warn", None, "")
    assert "stop only at '<|im_start|>', '<|im_end|>'" in found.message


def test_warm_up_as_long_as_training_is_told(project: Project) -> None:
    assert check(project, "training.warmup_steps=5")[0] == []
    found = only(check(project, "training.warmup_steps=6")[0])
    assert place(found) == ("THK-DATA-068", "warn", None, "")
    assert "training takes 6 optimizer steps" in found.message


@pytest.mark.parametrize(
    ("rows", "overrides", "says"),
    [
        ([LONG], ["training.on_overlong=drop"], "no row is left to train on (1 dropped"),
        ([{"prompt": "one", "completion": "two"}], ["data.validation_split=0.5"], "cannot hold out a part of 1 row"),
    ],
    ids=["all dropped", "too few to split"],
)
def test_training_without_a_step_is_an_error(
    project: Project, rows: list[Row], overrides: list[str], says: str
) -> None:
    project.write("data/train.jsonl", jsonl(rows))
    found = next(problem for problem in check(project, *overrides)[0] if problem.rule == "no-steps")
    assert place(found) == ("THK-DATA-067", "error", None, "")
    assert says in found.message


@pytest.mark.parametrize(
    ("break_it", "advice"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "save_pretrained"),
        (lambda folder: change(folder / "tokenizer_config.json", eos_token=None), "no end-of-sequence token"),
    ],
    ids=["no tokenizer.json", "no end"],
)
def test_without_a_tokenizer_one_warning_says_what_to_do(project: Project, tiny_model: Path, break_it, advice) -> None:
    break_it(own_model(project, tiny_model))
    plant(project, LONG)
    problems, statistics = check(project, "training.warmup_steps=6")
    warmup, missing = sorted(problems, key=lambda problem: problem.code)
    assert place(missing) == ("THK-DATA-069", "warn", None, "")
    assert advice in missing.message
    assert warmup.code == "THK-DATA-068"
    assert "encoding_sha256" not in statistics
    assert statistics["plan"]["steps"] == 6


def test_the_figures_are_those_of_the_encoded_rows(project: Project) -> None:
    from thinker.data.encode import Encoder
    from thinker.data.tokenizer_files import load_tokenizer_files

    plant(project, LONG)
    override = "training.on_overlong=drop"
    _, statistics = check(project, override)
    recipe = load_experiment(project.root / "pipeline.yaml").recipe
    assert recipe is not None
    encoder = Encoder(load_tokenizer_files(Path(recipe.model.name), chat=False), "raw")
    task = plugins.resolve("tasks", "prompt_completion")()
    encoded = [encoder.encode(task.example(row)) for row in rows_of(project) if row != LONG]
    lengths = sorted(len(each.ids) for each in encoded)
    assert statistics["tokens"] == {
        "rows": 9,
        "total": sum(lengths),
        "trained": sum(len(each.weights) for each in encoded),
        "length": {"min": lengths[0], "median": lengths[4], "p95": lengths[8], "max": lengths[8]},
        "limit": 128,
        "over_limit": 1,
        "dropped": 1,
        "truncated": 0,
        "longest": statistics["tokens"]["longest"],
        "dated": False,
        "boundary_rows": 0,
        "first_boundary": None,
    }
    assert statistics["tokens"]["longest"] > 128
    assert json.loads(json.dumps(statistics)) == statistics


def test_the_padding_share_is_that_of_the_plans_first_pass(project: Project) -> None:
    project.write(
        "data/train.jsonl", jsonl([{"prompt": "one" + " two" * n, "completion": "x"} for n in (0, 4, 9, 2, 7)])
    )
    _, statistics = check(project, "data.shuffle=false", "training.max_steps=50")
    lengths = [3 + n for n in (0, 4, 9, 2, 7)]
    base = statistics["tokens"]["length"]["min"] - min(lengths)
    a, b, c, d, e = (length + base for length in lengths)
    padded = 2 * max(a, b) + 2 * max(c, d) + e
    assert statistics["plan"]["padding_share"] == round(1 - (a + b + c + d + e) / padded, 4)
    assert statistics["plan"]["steps"] == 4
