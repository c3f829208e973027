"""Secrets planted wherever a user may have them, and then looked for in all that Thinker prints and writes."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
from pathlib import Path

import pytest
from support.project import Project

HUB_TOKEN = "hf_PlantedInTheEnvironment0123"
TINKER_KEY = "tml-planted-in-the-environment-456"
PASSWORD = 'planted & "quoted" password/789'
IN_THE_FILE = "planted-in-the-lora-file-012"
ON_THE_COMMAND_LINE = "planted-on-the-command-line-345"
SECRETS = (HUB_TOKEN, TINKER_KEY, PASSWORD, IN_THE_FILE, ON_THE_COMMAND_LINE)
ENVIRONMENT = {"HF_TOKEN": HUB_TOKEN, "TINKER_API_KEY": TINKER_KEY, "DATABASE_PASSWORD": PASSWORD}

TELLING_SUITE = """
import json, logging, os, subprocess, sys, warnings

def test_tells_everything():
    print(dict(os.environ))
    print(json.dumps(dict(os.environ)), file=sys.stderr)
    sys.__stderr__.write(os.environ["TINKER_API_KEY"] + "\\n")
    subprocess.run([sys.executable, "-c", "import os, sys; print(os.environ); print(os.environ, file=sys.stderr)"])
    logging.getLogger("thinker").warning("the token is %s", os.environ["HF_TOKEN"])
    logging.getLogger("somebody").warning("the password is %s", os.environ["DATABASE_PASSWORD"])
    warnings.warn("the key is " + os.environ["TINKER_API_KEY"])
    assert os.environ["HF_TOKEN"] == os.environ["DATABASE_PASSWORD"]
"""


@pytest.fixture
def hushed(project: Project) -> Project:
    """A project with a token in its LoRA file."""
    project.replace("lora.yaml", "  device: cpu", f"  device: cpu\n  hf_token: {IN_THE_FILE}")
    return project


def thinker(project: Project, *args: str) -> subprocess.CompletedProcess[str]:
    """`thinker ARGS`, as talkative as it gets, with secrets in the environment: none is printed or written."""
    inputs = files(project)
    done = project.thinker(*args, "--debug", "-v", env=ENVIRONMENT)
    written = {path: content for path, content in files(project).items() if inputs.get(path) != content}
    for secret in SECRETS:
        for form in (secret, json.dumps(secret)[1:-1], urllib.parse.quote(secret, safe="")):
            assert form not in done.stdout
            assert form not in done.stderr
            assert [path for path, content in written.items() if form.encode() in content] == []
    return done


def files(project: Project) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in project.root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("args", ["[]", "[-s]", "[-v, --tb=long, --showlocals]", "[-p, no:logging, -rA]"])
def test_a_suite_that_prints_the_environment(hushed: Project, args: str) -> None:
    hushed.write("tests/test_data.py", TELLING_SUITE)
    done = thinker(hushed, "validate", "--set", f"pipeline.tests.args={args}")
    assert done.returncode == 3
    assert "***" in done.stdout
    record = hushed.record()
    kept = hushed.root / "runs" / record["run_id"] / "pytest.txt"
    assert "***" in kept.read_text(encoding="utf-8")


def test_a_suite_that_prints_the_environment_under_json_and_quietly(hushed: Project) -> None:
    hushed.write("tests/test_data.py", TELLING_SUITE)
    assert json.loads(thinker(hushed, "validate", "--json").stdout)["exit_code"] == 3
    inputs = files(hushed)
    done = hushed.thinker("validate", "-q", env=ENVIRONMENT)
    assert "***" in done.stderr
    written = b"".join(content for path, content in files(hushed).items() if inputs.get(path) != content)
    assert not [secret for secret in SECRETS if secret in done.stderr or secret.encode() in written]


def test_a_whole_run_with_a_token_in_the_file(hushed: Project) -> None:
    """Records, logs, resolved configuration, intermediate checkpoints, adapter, model card, predictions."""
    done = thinker(hushed, "run", "--set", "output.save_steps=1")
    assert done.returncode == 0, done.stderr
    record = hushed.record()
    assert any("HF_TOKEN" in warning for warning in record["warnings"])
    resolved = json.loads((hushed.root / record["artifacts"]["config.resolved"]["path"]).read_text(encoding="utf-8"))
    assert resolved["lora"]["model"]["hf_token"] is None
    assert (hushed.root / "adapter/README.md").is_file()
    assert list(hushed.root.glob("adapter/steps/*/checkpoint-*"))
    for shown in (("runs", "show"), ("runs", "show", "--json"), ("runs", "list")):
        assert thinker(hushed, *shown).returncode == 0


def test_a_token_on_the_command_line_and_a_run_that_fails_with_a_traceback(hushed: Project) -> None:
    given = f"model.hf_token={ON_THE_COMMAND_LINE}"
    done = thinker(hushed, "train", "--set", given, "--set", "lora.r=10000000000000")
    assert done.returncode == 5
    assert "Traceback (most recent call last)" in done.stderr
    record = hushed.record()
    assert "model.hf_token=***" in record["argv"]
    assert "model.hf_token=***" in record["overrides"]


@pytest.mark.parametrize(
    "setting",
    ["model.hf_tokn={}", "model={{name: nobody/nothing, hf_token: {}}}", "model.hf_token=[{}]", "hf_token={}",
     "model.hf_token.value={}"],
)  # fmt: skip
def test_a_token_in_an_override_that_is_wrong(project: Project, setting: str) -> None:
    done = thinker(project, "train", "--set", setting.format(ON_THE_COMMAND_LINE))
    assert done.returncode == 2
    assert "***" in done.stderr or "nobody/nothing" in done.stderr


@pytest.mark.parametrize("line", ["  hf_token: [{}]", "  hf_tokn: {}", "  hf_token: {}: {}"])
def test_a_token_in_a_file_that_is_wrong(project: Project, line: str) -> None:
    project.replace("lora.yaml", "  device: cpu", "  device: cpu\n" + line.replace("{}", IN_THE_FILE))
    assert thinker(project, "validate").returncode == 2


def test_a_token_in_a_row_that_is_wrong(project: Project) -> None:
    project.write("data/train.jsonl", json.dumps({"prompt": "What?", "completion": [TINKER_KEY]}) + "\n")
    done = thinker(project, "validate")
    assert done.returncode == 4
    problems = hushed_text(project, "dataset_problems")
    assert "***" in problems


def hushed_text(project: Project, artifact: str) -> str:
    return (project.root / project.record()["artifacts"][artifact]["path"]).read_text(encoding="utf-8")
