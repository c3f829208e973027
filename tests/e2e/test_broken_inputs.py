"""The tables of docs/errors.md, executed: each row's input is broken in a fresh project, and the row's command run."""

from __future__ import annotations

import inspect
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest
from support.project import Project, jsonl, make_project
from support.tiny_model import make_tiny_model

from thinker.runs.lock import checkpoint_lock
from thinker.runs.schema import record_schema

PAGE = Path(__file__).parents[2] / "docs/errors.md"
CODE = re.compile(r"(`+) ?(.+?) ?\1")
LITERAL_TOKEN = "a-token-in-the-open-0123456789"

Environment = Mapping[str, str]
Mount = Callable[..., None]


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        printed: the documented line; empty where nothing is wrong.
        on_record: stage of the record's error, else the record's status; empty where there is no record.
    """

    slug: str
    command: tuple[str, ...]
    printed: str
    exit_code: int
    on_record: str


def read_rows() -> list[Row]:
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 7 and (slug := CODE.fullmatch(cells[0])):
            command, printed, on_record = (m[2] if (m := CODE.fullmatch(cells[i])) else "" for i in (2, 3, 5))
            found.append(Row(slug[2], tuple(shlex.split(command)), printed, int(cells[4]), on_record))
    return found


ROWS = read_rows()
CASES: dict[str, Callable[..., Environment | None]] = {}


def case(slug: str) -> Callable[[Callable[..., Environment | None]], Callable[..., Environment | None]]:
    """A way to break a project. Takes fixtures by name; returns environment variables for the command, if any."""

    def register(function: Callable[..., Environment | None]) -> Callable[..., Environment | None]:
        assert slug not in CASES
        CASES[slug] = function
        return function

    return register


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A folder with a trained adapter."""
    project = make_project(tmp_path_factory.mktemp("trained"), tiny_model)
    done = project.thinker("train", "-q")
    assert done.returncode == 0, done.stderr
    return project.root / "adapter"


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model of the same shape with other weights."""
    return make_tiny_model(tmp_path_factory.mktemp("other-model"), seed=1)


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Mounts a small file system in memory; skips where that is not allowed."""
    mounted = []

    def at(folder: Path, options: str) -> None:
        folder.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no `mount` here to make a small disk with")
        if done.returncode != 0:
            pytest.skip(f"mounting a small disk is not allowed here: {done.stderr.strip()}")
        mounted.append(folder)

    yield at
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def held_lock(project: Project) -> Iterator[None]:
    """Another run holds the checkpoint folder: this process."""
    with checkpoint_lock(project.root / "adapter"):
        yield


def test_every_row_has_a_case_and_every_case_a_row() -> None:
    assert [row.slug for row in ROWS] == list(CASES)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.slug)
def test_broken_input(row: Row, project: Project, tiny_model: Path, request: pytest.FixtureRequest) -> None:
    breaks = CASES[row.slug]
    environment = breaks(**{name: request.getfixturevalue(name) for name in inspect.signature(breaks).parameters})
    before = complete_things(project)

    done = project.thinker(*row.command[1:], env=environment)

    assert done.returncode == row.exit_code, done.stderr
    assert "Traceback (most recent call last)" not in done.stderr
    level = "error" if row.exit_code else "warning"
    said = [line for line in done.stderr.splitlines() if line.startswith(f"[thinker] {level}: ")]
    places = {"folder": project.root.as_posix(), "model": tiny_model.as_posix()}
    assert len(said) == bool(row.printed), said
    assert not said or re.fullmatch(pattern(row.printed, places), said[0]), (
        f"said:       {said[0]}\ndocumented: {row.printed}"
    )
    check_record(row, project, said)
    assert complete_things(project) == before
    assert not list(unfinished_things(project))
    assert LITERAL_TOKEN not in done.stdout + done.stderr


def pattern(line: str, places: Mapping[str, str]) -> str:
    """A regular expression for a documented line: `<folder>` is the project's, any other `<…>` anything."""
    parts = re.split(r"<([^<>]+)>", line)
    return "".join(
        (re.escape(places[part]) if part in places else ".+") if index % 2 else re.escape(part)
        for index, part in enumerate(parts)
    )


def check_record(row: Row, project: Project, said: list[str]) -> None:
    """The run's record names stage, exit code and message; or its status, where nothing failed or the disk was full."""
    if not row.on_record:
        assert not list((project.root / "runs").glob("*.json"))
        return
    record = project.record()
    jsonschema.validate(record, record_schema())
    if row.on_record == "running":
        assert (record["status"], record["exit_code"]) == ("running", None)
    elif row.on_record == "success":
        assert (record["status"], record["exit_code"], record["error"]) == ("success", 0, None)
        assert record["warnings"] == [line.removeprefix("[thinker] warning: ") for line in said]
    else:
        assert (record["status"], record["exit_code"]) == ("failed", row.exit_code)
        assert record["error"]["stage"] == row.on_record
        assert f"[thinker] error: {' '.join(record['error']['message'].split())}" == said[0]


def complete_things(project: Project) -> dict[str, bytes]:
    """What another command would take for finished work."""
    found = [project.root / "adapter/thinker.json", project.root / "adapter/adapter_model.safetensors"]
    found += [*project.root.glob("out/*"), *project.root.glob("adapter/steps/*/checkpoint-*/*")]
    return {path.relative_to(project.root).as_posix(): path.read_bytes() for path in found if path.is_file()}


def unfinished_things(project: Project) -> Iterator[Path]:
    """Leftovers of work cut short, and cached rows that are not whole."""
    for name in (".writing-*", ".saving-*", ".*.tmp", "tmp*"):
        yield from project.root.rglob(name)
    for entry in project.root.glob(".thinker/cache/encoded/*"):
        if {path.name for path in entry.iterdir()} != {"rows.arrow", "notes.json"}:
            yield entry


def set_row(project: Project, text: str) -> None:
    """Put `text` in the place of the dataset's third line."""
    lines = (project.root / "data/train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    project.write("data/train.jsonl", "".join([*lines[:2], text + "\n", *lines[3:]]))


def use_model_copy(project: Project, tiny_model: Path) -> Path:
    shutil.copytree(tiny_model, project.root / "model")
    project.replace("lora.yaml", tiny_model.as_posix(), "./model")
    return project.root / "model"


# Configuration


@case("missing-config")
def _(project: Project) -> None:
    (project.root / "pipeline.yaml").unlink()


@case("bad-yaml")
def _(project: Project) -> None:
    project.replace("pipeline.yaml", "  path: tests", "  path: [tests")


@case("unknown-key")
def _(project: Project) -> None:
    project.replace("pipeline.yaml", "max_new_tokens", "max_new_token")


@case("wrong-type")
def _(project: Project) -> None:
    project.replace("lora.yaml", "1e-2", '"1e-2"')


@case("missing-section")
def _(project: Project) -> None:
    project.replace("pipeline.yaml", 'tests:\n  path: tests\n  args: ["-q"]\n', "")


@case("missing-file")
def _(project: Project) -> None:
    (project.root / "data/train.jsonl").unlink()


@case("datasets-differ")
def _(project: Project) -> None:
    project.write("data/old.jsonl", jsonl([{"prompt": "What is the capital of Fiji?\n", "completion": "Suva"}]))
    project.replace("lora.yaml", "data:\n", "data:\n  train_file: data/old.jsonl\n")


@case("unknown-backend")
def _(project: Project) -> None:
    project.replace("pipeline.yaml", "backend: hf_peft", "backend: hf-peft")


@case("unloadable-plugin")
def _(project: Project) -> None:
    project.replace("pipeline.yaml", "backend: hf_peft", "backend: my_backends:fast")


@case("unknown-override")
def _(project: Project) -> None:
    pass


@case("unknown-option")
def _(project: Project) -> None:
    pass


@case("missing-variable")
def _(project: Project) -> Environment:
    project.replace("lora.yaml", "  device: cpu", "  device: cpu\n  hf_token: ${MY_HUB_TOKEN}")
    return {"MY_HUB_TOKEN": ""}


@case("token-in-config")
def _(project: Project) -> None:
    project.replace("lora.yaml", "  device: cpu", f"  device: cpu\n  hf_token: {LITERAL_TOKEN}")


# Test suite


@case("failing-pytest")
def _(project: Project) -> None:
    project.write("tests/test_data.py", "def test_all_rows_are_there():\n    assert 9 == 10\n")


@case("no-tests-collected")
def _(project: Project) -> None:
    project.replace("pipeline.yaml", 'args: ["-q"]', 'markers: "nightly"')


@case("nothing-passed")
def _(project: Project) -> None:
    project.write("tests/test_data.py", "import pytest\n\n@pytest.mark.skip\ndef test_later():\n    pass\n")


@case("uncollectable-test")
def _(project: Project) -> None:
    project.write("tests/test_data.py", "import no_such_module\n")


# Data


@case("invalid-json")
def _(project: Project) -> None:
    set_row(project, '{"prompt": "What is the capital of Spain?", "completion": }')


@case("missing-field")
def _(project: Project) -> None:
    schema = "  schema:\n    - {name: prompt, type: string}\n    - {name: completion, type: string}\n"
    project.replace("pipeline.yaml", "  path: data/train.jsonl\n", f"  path: data/train.jsonl\n{schema}")
    set_row(project, '{"prompt": "What is the capital of Spain?", "answer": "Madrid"}')


@case("wrong-type-in-row")
def _(project: Project) -> None:
    set_row(project, '{"prompt": "What is the capital of Spain?", "completion": 7}')


@case("empty-string")
def _(project: Project) -> None:
    set_row(project, '{"prompt": "What is the capital of Spain?", "completion": " "}')


@case("no-rows")
def _(project: Project) -> None:
    project.write("data/train.jsonl", "")


@case("overlong-row")
def _(project: Project) -> None:
    project.replace("lora.yaml", "max_seq_length: 128", "max_seq_length: 20")


@case("edited-dataset")
def _(project: Project) -> Environment:
    project.write("edits.py", EDITING_TASK)
    project.replace("pipeline.yaml", "task: prompt_completion", "task: edits:Edits")
    return {"PYTHONPATH": str(project.root)}


EDITING_TASK = '''
import sys
from pathlib import Path
from thinker.tasks.prompt_completion import PromptCompletion

class Edits(PromptCompletion):
    """Only training loads Transformers: someone saves the dataset while it is read for training."""

    name = "edits"

    def weight_spans(self, completion, weights):
        dataset = Path("data/train.jsonl")
        text = dataset.read_text()
        if "transformers" in sys.modules and "Suva" not in text:
            dataset.write_text(text + '{"prompt": "Fiji?", "completion": "Suva"}\\n')
        return ()
'''


# Model, device, packages


@case("no-such-model")
def _(project: Project, tiny_model: Path) -> None:
    project.replace("lora.yaml", tiny_model.as_posix(), "./models/llama")


@case("no-such-hub-model")
def _(project: Project, tiny_model: Path) -> Environment:
    project.replace("lora.yaml", tiny_model.as_posix(), "nobody/no-such-model")
    return {"HF_HUB_OFFLINE": "1"}


@case("damaged-model")
def _(project: Project, tiny_model: Path) -> None:
    weights = use_model_copy(project, tiny_model) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


@case("no-cuda")
def _(project: Project) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    project.replace("lora.yaml", "device: cpu", "device: cuda")


@case("half-a-launcher")
def _() -> Environment:
    return {"WORLD_SIZE": "2"}


@case("missing-package")
def _(project: Project) -> Environment:
    project.write("without/sitecustomize.py", "import sys\n\nsys.modules['peft'] = None\n")
    return {"PYTHONPATH": str(project.root / "without")}


# Training


@case("unknown-optimizer")
def _(project: Project) -> None:
    project.replace("lora.yaml", "num_epochs", "optim: adam_torch\n  num_epochs")


@case("foreign-target-modules")
def _(project: Project) -> None:
    project.replace("lora.yaml", "  r: 4", "  r: 4\n  target_modules: [q_proj, c_attn]")


@case("checkpoint-folder-in-use")
def _(held_lock: None) -> None:
    pass


@case("checkpoint-folder-of-the-project")
def _(project: Project) -> None:
    project.replace("lora.yaml", "checkpoint_dir: adapter", "checkpoint_dir: .")


@case("diverged")
def _(project: Project) -> None:
    project.replace("lora.yaml", "1e-2", "1e30")


@case("out-of-memory")
def _(project: Project) -> None:
    # More bytes than addresses: refused on every machine.
    project.replace("lora.yaml", "  r: 4", "  r: 10000000000000")


# Evaluation


@case("no-checkpoint")
def _(project: Project) -> None:
    pass


@case("other-base-model")
def _(project: Project, tiny_model: Path, other_model: Path, adapter: Path) -> None:
    shutil.copytree(adapter, project.root / "adapter")
    project.replace("lora.yaml", tiny_model.as_posix(), other_model.as_posix())


@case("merge-over-adapter")
def _(project: Project, adapter: Path) -> None:
    shutil.copytree(adapter, project.root / "adapter")


@case("torn-adapter")
def _(project: Project, adapter: Path) -> None:
    shutil.copytree(adapter, project.root / "adapter")
    weights = project.root / "adapter/adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


@case("damaged-manifest")
def _(project: Project, adapter: Path) -> None:
    shutil.copytree(adapter, project.root / "adapter")
    (project.root / "adapter/thinker.json").write_text('{"adapter_sha256": "75ca', encoding="utf-8")


# Disks, records, git


@case("full-disk")
def _(project: Project, mount: Mount) -> None:
    mount(project.root / "adapter", "size=40k")


@case("full-cache-disk")
def _(project: Project, mount: Mount) -> None:
    mount(project.root / ".thinker", "size=4k")


@case("full-records-disk")
def _(project: Project, mount: Mount) -> None:
    mount(project.root / "runs", "size=8k")


@case("read-only-runs-folder")
def _(project: Project, mount: Mount) -> None:
    mount(project.root / "runs", "size=1m,ro")


@case("no-git")
def _(project: Project) -> Environment:
    (project.root / "empty").mkdir()
    return {"PATH": str(project.root / "empty")}


def test_without_git_the_commit_is_null(project: Project) -> None:
    environment = CASES["no-git"](project)
    assert project.thinker("validate", "-q", env=environment).returncode == 0
    record = project.record()
    assert record["git_commit"] is None
    assert record["git"] is None
