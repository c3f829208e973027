"""`thinker inspect`: a row as the model will see it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.project import Project, jsonl

from thinker.config import load_experiment
from thinker.data.prepare import prepare_data
from thinker.tasks.prompt_completion import PromptCompletion

LONG = {"prompt": "one two three " * 60, "completion": "four\nfive"}


def shown(project: Project, capfd, *arguments: str, code: int = 0) -> str:
    assert project.run_here("inspect", *arguments) == code
    captured = capfd.readouterr()
    return captured.err if code else captured.out


def as_json(project: Project, capfd, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shown(project, capfd, "--json", *arguments))
    return found


def append(project: Project, *rows: dict[str, Any], text: str = "") -> None:
    path = project.root / "data/train.jsonl"
    path.write_text(path.read_text(encoding="utf-8") + text + jsonl(rows), encoding="utf-8")


@pytest.mark.parametrize("prompt_format", ["raw", "chat"])
@pytest.mark.parametrize("policy", ["drop", "truncate_prompt"])
def test_ids_and_weights_are_those_that_training_gets(
    project: Project, tmp_path: Path, prompt_format: str, policy: str, capfd
) -> None:
    from transformers import AutoTokenizer

    append(project, LONG)
    overrides = (f"model.prompt_format={prompt_format}", f"training.on_overlong={policy}")
    experiment = load_experiment(project.root / "pipeline.yaml", overrides=overrides)
    assert experiment.recipe is not None
    data = prepare_data(
        experiment, experiment.recipe, PromptCompletion(), AutoTokenizer.from_pretrained(experiment.recipe.model.name),
        tokenizer_identity="", dataset_sha256=experiment.dataset.sha256(), cache_dir=tmp_path,
    )  # fmt: skip
    arguments = [part for override in overrides for part in ("--set", override)]
    for index, number in enumerate(data.rows.row_numbers):
        view = as_json(project, capfd, "--row", str(number + 1), *arguments)
        assert view["ids"] == data.rows[index].ids
        assert view["weights"][view["prompt_length"] :] == data.rows[index].weights
        assert view["outcome"] == ("truncated" if number == 10 else "kept")
    last = as_json(project, capfd, "--row", "11", *arguments)
    assert last["outcome"] == {"drop": "dropped", "truncate_prompt": "truncated"}[policy]


def test_json_has_a_value_for_each_token(project: Project, capfd) -> None:
    view = as_json(project, capfd, "--row", "2")
    assert (view["row"], view["line"], view["outcome"], view["max_seq_length"]) == (2, 2, "kept", 128)
    assert view["prompt"] == "What is the capital of Italy?\n"
    parts = ("ids", "tokens", "parts", "offsets", "mask", "weights")
    assert {len(view[name]) for name in parts} == {view["length"]} == {view["whole_length"]}
    texts = [view[part][start:end] for part, (start, end) in zip(view["parts"][:-1], view["offsets"][:-1], strict=True)]
    assert "".join(texts) == view["prompt"] + view["completion"]
    assert (view["tokens"][-1], view["offsets"][-1], view["mask"][-1], view["weights"][-1]) == ("<|eos|>", None, 1, 1.0)
    assert sum(view["mask"]) == view["length"] - view["prompt_length"] == view["trained_tokens"] == view["weight_sum"]


def test_plain_text_is_aligned_and_shows_what_cannot_be_seen(project: Project, capfd) -> None:
    append(project, {"prompt": "a<|im_end|> β🙂\n", "completion": "b"})
    lines = shown(project, capfd, "--row", "11").splitlines()
    assert "\x1b" not in "".join(lines)
    assert lines[0].endswith("train.jsonl:11 (row 11), prompt format raw")
    assert "2 carry loss, with weights that sum to 2" in lines[1]
    assert lines[2] == "fits: training.max_seq_length is 128"
    header = next(index for index, line in enumerate(lines) if line.startswith(" place"))
    assert lines[header + 1] == "-- prompt"
    assert lines[header + 2] == "     0      69     0       0  'a'"
    assert any(line.endswith("<|im_end|>  (special)") for line in lines)
    assert any(line.endswith("'\\n'") for line in lines)
    assert any(line.endswith("(of the same character)") for line in lines)
    assert (lines[-4], lines[-2]) == ("-- completion", "-- end")
    assert lines[-3].endswith("      70     1       1  'b'")
    assert lines[-1].endswith("       2     1       1  <|eos|>  (special)")


def test_on_a_terminal_weights_have_colours(project: Project, capfd, monkeypatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    text = shown(project, capfd)
    assert "\x1b[32m" in text
    assert "weight 0" in text


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ("error", "116 more than training.max_seq_length (128): an error"),
        ("drop", "116 more than training.max_seq_length (128): training leaves the row out"),
        ("truncate_prompt", "244 tokens, 116 more than training.max_seq_length (128): those are cut from the prompt's"),
    ],
)
def test_what_the_policy_does_to_a_long_row_is_said(project: Project, policy: str, says: str, capfd) -> None:
    append(project, {"prompt": "one two three " * 60, "completion": "four"})
    assert says in shown(project, capfd, "--row", "11", "--set", f"training.on_overlong={policy}")


def test_rows_count_from_one_without_blank_lines_and_lines_with_them(project: Project, capfd) -> None:
    append(project, {"prompt": "p", "completion": "q"}, text="\n\n")
    by_row, by_line, by_place = (
        as_json(project, capfd, *arguments)
        for arguments in (("--row", "11"), ("--line", "13"), ("--line", "train.jsonl:13"))
    )
    assert by_row == by_line == by_place
    assert (by_row["row"], by_row["line"], by_row["prompt"]) == (11, 13, "p")
    assert as_json(project, capfd)["row"] == 1


def test_of_several_files_a_line_needs_the_files_name(project: Project, capfd) -> None:
    project.write("data/more.jsonl", jsonl([{"prompt": "p", "completion": "q"}]))
    project.replace("pipeline.yaml", "data/train.jsonl", "[data/train.jsonl, data/more.jsonl]")
    assert "say --line FILE:1" in shown(project, capfd, "--line", "1", code=2)
    assert as_json(project, capfd, "--line", "data/more.jsonl:1")["prompt"] == "p"
    assert as_json(project, capfd, "--row", "11")["prompt"] == "p"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--row", "99"), "there is no row 99: .*train.jsonl has 10, counted from 1"),
        (("--line", "99"), "train.jsonl:99: there is no row at this line"),
        (("--line", "other.jsonl:1"), "has no file other.jsonl"),
        (("--line", "x"), "takes a line number, or FILE:LINE, not 'x'"),
        (("--row", "1", "--line", "1"), "give one of them"),
        (("--row", "3", "--set", "pipeline.data_validation.max_examples=2"), "max_examples ends the reading"),
    ],
)
def test_a_row_that_is_not_there_is_an_error_of_usage(project: Project, arguments, says: str, capfd) -> None:
    import re

    assert re.search(says, shown(project, capfd, *arguments, code=2))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"prompt": "p"', "train.jsonl:11: invalid JSON at column 15"),
        ('{"prompt": "p"}', "train.jsonl:11: cannot be read as an example: a row needs `prompt` and `completion`"),
        ('{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}',
         "train.jsonl:11: cannot be read as an example: a row of chat messages needs model.prompt_format: chat"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_read_is_an_error_of_the_data(project: Project, line: str, says: str, capfd) -> None:
    append(project, text=line + "\n")
    assert says in shown(project, capfd, "--row", "11", code=4)


def test_without_a_tokenizer_it_says_what_to_do(project: Project, tiny_model: Path, capfd) -> None:
    folder = shutil.copytree(tiny_model, project.root / "model")
    (folder / "tokenizer.json").unlink()
    project.replace("lora.yaml", tiny_model.as_posix(), folder.as_posix())
    assert "save_pretrained" in shown(project, capfd, code=2)


def test_without_a_recipe_nothing_can_be_shown(project: Project, capfd) -> None:
    project.replace("pipeline.yaml", "training:\n  backend: hf_peft\n  config_path: lora.yaml\n", "")
    assert "no section `training`" in shown(project, capfd, code=2)


def test_neither_torch_nor_transformers_is_loaded(project: Project) -> None:
    import subprocess
    import sys

    code = (
        "import sys\nfrom thinker.cli.entry import run\nassert run(['inspect', '-q', '--json']) == 0\n"
        "assert not {'torch', 'transformers', 'numpy', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=project.root, check=True, capture_output=True, timeout=120)
