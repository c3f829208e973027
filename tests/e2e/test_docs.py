"""The documentation is executed: its files load, its commands run as written and print what it says they print.

An HTML comment before a fenced block says what the block is; a page is played from top to bottom in one folder:

    <!-- file: NAME -->      a file of the folder
    <!-- run -->             shell commands that succeed; `run: exit 4` ends with that code; `run: python` is a program
    <!-- output -->          lines that the block before printed, in this order; … stands for anything
    <!-- output: alike -->   the same, numbers and hashes aside
    <!-- load: pipeline -->  a pipeline file, or a part of one, that only has to load
    <!-- load: lora -->      the same of a LoRA file
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from pydantic import BaseModel
from support.project import make_project

from thinker import errors
from thinker.cli.app import app
from thinker.config import Experiment, load_experiment, load_pipeline_config
from thinker.config import model_types as types
from thinker.config.pipeline_models import PipelineConfig
from thinker.config.recipe_models import Recipe
from thinker.evaluation.scifact_metrics import metrics as scifact_metrics
from thinker.modeling import devices
from thinker.runs import models
from thinker.tasks.prompt_completion import PromptCompletion
from thinker.validation import codes

ROOT = Path(__file__).parents[2]
GUIDE, GATE, RECORD, OWN_DATA = "docs/guide.md", "docs/gate.md", "docs/record.md", "docs/your-own-data.md"
REPRODUCE, RESUME, TRAINING = "docs/reproduce.md", "docs/resume.md", "docs/training.md"
MERGE, SEVERAL = "docs/merge.md", "docs/several-machines.md"
README = "README.md"
PLAYED = (README, GUIDE, GATE, RECORD, REPRODUCE, RESUME, TRAINING, MERGE, SEVERAL, OWN_DATA)
LINKED = sorted(
    path.relative_to(ROOT).as_posix()
    for folder, pattern in ((ROOT, "*.md"), (ROOT / "docs", "**/*.md"), (ROOT / "examples", "*/**/README.md"))
    for path in folder.glob(pattern)
)
HUB_ID, COMMIT = "HuggingFaceTB/SmolLM2-135M-Instruct", "0123456789abcdef0123456789abcdef01234567"

_STEP = re.compile(r"^<!-- (file|run|output|load)(?:: ([^>]+?))? -->\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FENCE = re.compile(r"^```\w*\n.*?^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FIGURE = re.compile(r"\b[0-9a-f]{12}\b|[\d.]*\d")


@dataclass(frozen=True)
class Step:
    """A marked block of a page."""

    kind: str
    argument: str
    text: str


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def steps(name: str) -> list[Step]:
    return [Step(kind, argument, text) for kind, argument, text in _STEP.findall(page(name))]


def table(name: str, *header: str) -> list[list[str]]:
    """The rows of the tables that begin with `header`; code marks are left out."""
    rows, inside = [], False
    for line in page(name).splitlines():
        cells = [cell.strip().replace("`", "") for cell in line.strip("|").split(" | ")] if line[:1] == "|" else []
        if tuple(cells[: len(header)]) == header:
            inside = True
        elif inside and cells and not line.startswith("|---"):
            rows.append(cells)
        inside = inside and bool(cells)
    assert rows, f"{name} has no table {header}"
    return rows


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> dict[str, str]:
    """In which `thinker` is on the path, and the model that the pages name is a tiny one in the hub's cache."""
    home = tmp_path_factory.mktemp("hub-home")
    cache = home / "hub" / f"models--{HUB_ID.replace('/', '--')}"
    shutil.copytree(tiny_model, cache / "snapshots" / COMMIT)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(COMMIT)
    kept = {name: value for name, value in os.environ.items() if not re.match("HF_|HUGGINGFACE_|THINKER_", name)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "PYTHONIOENCODING": "utf-8"}


@pytest.fixture(scope="module")
def guide_folder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, environment: Mapping[str, str]) -> Path:
    """Where the guide has been played, on the data and tests of the small experiment, beside a sample of SciFact."""
    folder = tmp_path_factory.mktemp("guide")
    make_project(folder, tiny_model)
    shutil.copytree(ROOT / "examples" / "scifact" / "data", folder / "scifact")
    play(GUIDE, folder, environment)
    return folder


def play(name: str, folder: Path, environment: Mapping[str, str]) -> None:
    """Do what the page says, from top to bottom."""
    printed = ""
    for step in steps(name):
        match step.kind:
            case "file":
                (folder / step.argument).write_text(step.text, encoding="utf-8")
            case "run":
                printed = run(step, folder, environment)
            case "output":
                assert_shown(step, printed)
            case "load":
                (load_lora if step.argument == "lora" else load)(step.text, folder)


def run(step: Step, folder: Path, environment: Mapping[str, str]) -> str:
    """What the block prints, standard error included."""
    if step.argument == "python":
        command = [sys.executable, "-c", step.text]
    elif os.name == "nt":
        pytest.skip("the commands of the documentation are for a POSIX shell")
    else:
        command = ["sh", "-e", "-c", step.text]
    finished = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
        timeout=300, check=False,
    )  # fmt: skip
    expected = int(step.argument.removeprefix("exit ")) if step.argument.startswith("exit ") else 0
    assert finished.returncode == expected, f"{step.text}\n{finished.stdout}"
    return finished.stdout


def assert_shown(step: Step, printed: str) -> None:
    lines = iter([squeezed(line, step) for line in printed.splitlines()])
    for line in filter(None, (squeezed(line, step) for line in step.text.splitlines())):
        pattern = re.escape(line).replace("…", ".*")
        assert any(re.fullmatch(pattern, found) for found in lines), f"not printed: {line}\n\n{printed}"


def squeezed(line: str, step: Step) -> str:
    text = " ".join(line.replace("─", "").split())
    return _FIGURE.sub("#", text) if step.argument == "alike" else text


def load(text: str, folder: Path) -> PipelineConfig:
    """Load a pipeline file, or a part of one, for which the files it names are made."""
    folder = folder / "loaded"
    for file in re.findall(r"[\w/]+\.(?:jsonl|yaml)\b", text):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    (folder / "tests").mkdir(exist_ok=True)
    missing = "" if "\ntests:" in text else "tests: {enabled: false}\n"
    (folder / "pipeline.yaml").write_text(missing + text, encoding="utf-8")
    return load_pipeline_config(folder / "pipeline.yaml")


def load_lora(text: str, folder: Path) -> Experiment:
    """Load a part of a LoRA file, to which a model is added."""
    pipeline = "tests: {enabled: false}\ndata_validation: {path: a.jsonl}\ntraining: {config_path: lora.yaml}\n"
    experiment = folder / "loaded-lora"
    experiment.mkdir(exist_ok=True)
    (experiment / "a.jsonl").touch()
    (experiment / "pipeline.yaml").write_text(pipeline, encoding="utf-8")
    (experiment / "lora.yaml").write_text(f"model: {{name: org/model}}\n{text}", encoding="utf-8")
    return load_experiment(experiment / "pipeline.yaml")


def test_the_readme_does_what_it_shows(tmp_path: Path, environment: dict[str, str]) -> None:
    play(README, tmp_path, environment)


@pytest.mark.slow
def test_the_page_on_your_own_data_does_what_it_shows(tmp_path: Path, environment: dict[str, str]) -> None:
    play(OWN_DATA, tmp_path, environment)


def test_the_guide_does_what_it_shows(guide_folder: Path) -> None:
    assert (guide_folder / "gate.json").read_text(encoding="utf-8").startswith("{")
    assert models.RunRecord.model_validate_json((guide_folder / "record.json").read_bytes()).status == "success"


def test_the_page_on_the_gate_does_what_it_shows(
    guide_folder: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    folder = shutil.copytree(guide_folder, tmp_path / "gate")
    play(GATE, folder, environment)


def test_the_page_on_the_record_does_what_it_shows(guide_folder: Path, environment: dict[str, str]) -> None:
    play(RECORD, guide_folder, environment)


@pytest.mark.slow
def test_the_page_on_reproducing_does_what_it_shows(
    guide_folder: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    play(REPRODUCE, shutil.copytree(guide_folder, tmp_path / "reproduce"), environment)


@pytest.mark.slow
def test_the_page_on_resuming_does_what_it_shows(
    guide_folder: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    play(RESUME, shutil.copytree(guide_folder, tmp_path / "resume"), environment)


@pytest.mark.slow
def test_the_page_on_training_does_what_it_shows(
    guide_folder: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    play(TRAINING, shutil.copytree(guide_folder, tmp_path / "training"), environment)


@pytest.mark.slow
def test_the_page_on_merging_does_what_it_shows(
    guide_folder: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    play(MERGE, shutil.copytree(guide_folder, tmp_path / "merge"), environment)


@pytest.mark.parametrize("name", PLAYED)
def test_every_yaml_and_json_block_is_one_that_a_test_reads(name: str) -> None:
    shown = len(re.findall(r"^```(?:yaml|json)$", page(name), re.MULTILINE))
    marked = [step for step in steps(name) if step.kind == "load" or step.argument.endswith((".yaml", ".jsonl"))]
    assert shown == len(marked)


def test_check_levels_that_the_guide_sets_can_be_set(tmp_path: Path) -> None:
    loaded = [load(step.text, tmp_path) for step in steps(GUIDE) if step.kind == "load"]
    checks = [config.data_validation.checks for config in loaded if config.data_validation.checks]
    assert checks
    for each in checks:
        assert codes.levels(each) | each == codes.levels(each)


@pytest.mark.parametrize("name", LINKED)
def test_links_lead_somewhere(name: str) -> None:
    source = ROOT / name
    for link in _LINK.findall(_FENCE.sub("", page(name))):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (source.parent / file).resolve() if file else source
        assert target.exists(), f"{name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{name} links to {link}, a heading that is not there"


def anchors(path: Path) -> set[str]:
    """The ids that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# The commands of the page on errors are wrong on purpose; tests/e2e/test_broken_inputs.py runs them.
@pytest.mark.parametrize("name", [name for name in LINKED if name != "docs/errors.md"])
def test_commands_and_options_that_are_mentioned_exist(name: str) -> None:
    for command in mentioned_commands(page(name)):
        words = shlex.split(command, comments=True)[1:]
        found: click.Command = app
        for word in words:
            if isinstance(found, click.Group) and not word.startswith("-") and word in found.commands:
                found = found.commands[word]
            elif word.startswith("-"):
                assert word.partition("=")[0] in option_names(found), f"`{command}`: no option {word}"
            elif isinstance(found, click.Group):
                assert words[words.index(word) - 1] in ("--config", "--set"), f"`{command}`: no command {word}"


def mentioned_commands(text: str) -> Iterator[str]:
    """`thinker …` in code spans, and at the beginning of lines of code."""
    yield from (code for code in _CODE.findall(_FENCE.sub("", text)) if code.startswith("thinker "))
    lines = [line for block in _FENCE.findall(text) for line in block.splitlines()]
    lines += [line.strip() for line in text.splitlines() if line.startswith("    ")]
    yield from (line.partition(" > ")[0] for line in lines if line.startswith("thinker "))


def option_names(command: click.Command) -> set[str]:
    return {"--help", "-h", *(name for parameter in command.params for name in (*parameter.opts,))}


def test_the_guides_options_are_those_of_its_commands() -> None:
    pipeline = {name: option_names(app.commands[name]) for name in ("validate", "train", "eval", "run")}
    stated: dict[str, set[str]] = {name: {"--help", "-h"} for name in pipeline}
    for option, of, *_ in table(GUIDE, "option", "of", "means"):
        for name in pipeline if of == "all" else of.split(", "):
            stated[name] |= set(re.findall(r"--?[a-z]\S*(?<!,)", option))
    assert stated == pipeline


def test_the_guides_commands_are_all_there_are() -> None:
    stated = {command for row in table(GUIDE, "command", "does") for command in re.findall(r"thinker (\w+)", row[0])}
    assert stated == set(app.commands)


@pytest.mark.parametrize("name", PLAYED)
def test_keys_that_are_mentioned_exist(name: str) -> None:
    sections = "tests|data_validation|training|evaluation|model|lora|data|output"
    for code in _CODE.findall(_FENCE.sub("", page(name))):
        key = re.match(rf"((?:{sections})(?:\.[a-z_0-9]+)+)(?:$|:)", code)
        if key is None or code.endswith((".jsonl", ".yaml")):
            continue
        path = tuple(key[1].split("."))
        known = types.type_at(PipelineConfig, path) or types.type_at(Recipe, path)
        assert known is not None, f"{name}: no key {key[1]}"


def test_the_guides_precision_rules_are_those_of_the_code() -> None:
    documented = [line for line in str(devices.__doc__).splitlines() if line.startswith("| `") or "neither" in line]
    shown = page(GUIDE).splitlines()
    start = shown.index(documented[0])
    assert shown[start : start + len(documented) + 1] == [*documented, ""]


def test_the_guides_metrics_are_those_of_the_tasks() -> None:
    rows = table(GUIDE, "metric", "definition")
    stated = [name for row in rows for name in row[0].split(", ")]
    assert stated == [*PromptCompletion().score([]).metrics, *scifact_metrics([])]


def test_messages_that_are_explained_are_messages_of_the_program() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")).replace("`", "")
    for message, *_ in table(OWN_DATA, "message", "means", "do"):
        assert message.strip() in sources


def test_the_readmes_exit_codes_are_those_of_the_errors() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ThinkerError)]
    raised = {kind.exit_code for kind in kinds}
    stated = {int(code) for code, *_ in table(README, "code", "meaning")}
    assert stated == raised | {errors.EXIT_OK, errors.EXIT_UNEXPECTED, errors.EXIT_INTERRUPTED}


def test_the_page_on_the_record_has_every_key_of_it() -> None:
    keys = [row[0] for row in table(RECORD, "key", "meaning")]
    for section in sections_of(models.RunRecord):
        names = list(section.model_fields)
        places = [start for start in range(len(keys)) if keys[start : start + len(names)] == names]
        assert places, f"docs/record.md has no table of the keys of {section.__name__}: {', '.join(names)}"


def sections_of(model: type[BaseModel]) -> list[type[BaseModel]]:
    """`model` and the models within, by name; an artifact is described in words."""
    found = [model]
    for each in found:
        for field in each.model_fields.values():
            inner = [part for part in vars(models).values() if isinstance(part, type) and issubclass(part, BaseModel)]
            named = [part for part in inner if re.search(rf"\b{part.__name__}\b", repr(field.annotation))]
            found += [part for part in named if part not in found and part is not models.FileRecord]
    return found
