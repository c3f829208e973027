from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import thinker
from thinker.runs import environment, git_state, library_versions, provenance
from thinker.runs.models import GitState

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    (folder / "tracked.txt").write_text("1", encoding="utf-8")
    git(folder, "add", "tracked.txt")
    git(folder, "commit", "--quiet", "-m", "first")
    return folder


@needs_git
def test_clean_repository_gives_commit_and_branch(repository: Path) -> None:
    assert git_state(repository) == GitState(commit=git(repository, "rev-parse", "HEAD"), branch="main", dirty=False)


@needs_git
def test_changed_tracked_file_makes_the_repository_dirty(repository: Path) -> None:
    (repository / "tracked.txt").write_text("2", encoding="utf-8")

    assert git_state(repository).dirty


@needs_git
def test_untracked_file_does_not_make_the_repository_dirty(repository: Path) -> None:
    (repository / "run.json").write_text("{}", encoding="utf-8")

    assert not git_state(repository).dirty


@needs_git
def test_state_is_that_of_the_folder_that_holds_a_file(repository: Path) -> None:
    assert git_state(repository / "tracked.txt") == git_state(repository)


@needs_git
def test_detached_head_has_a_commit_and_no_branch(repository: Path) -> None:
    git(repository, "checkout", "--quiet", "--detach")

    state = git_state(repository)

    assert (state.commit, state.branch) == (git(repository, "rev-parse", "HEAD"), None)


@needs_git
def test_repository_without_a_commit_has_a_branch_and_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")

    assert git_state(tmp_path) == GitState(commit=None, branch="main", dirty=False)


@needs_git
def test_repository_that_a_git_hook_points_to_is_not_mistaken_for_ours(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = git_state(repository)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere" / ".git"))

    assert expected is not None
    assert git_state(repository) == expected


@needs_git
def test_folder_outside_a_repository_has_no_state(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None


def test_folder_that_does_not_exist_has_no_state(tmp_path: Path) -> None:
    assert git_state(tmp_path / "none" / "pipeline.yaml") is None


@needs_git
def test_without_git_on_the_path_there_is_no_state(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    assert git_state(repository) is None


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for git is a shell script")
@pytest.mark.parametrize("body", ["exec sleep 600", "echo broken >&2; exit 128", "kill -9 $$"])
def test_git_that_hangs_or_fails_gives_no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    program = tmp_path / "git"
    program.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(provenance, "_GIT_TIMEOUT_S", 0.3)

    assert git_state(tmp_path) is None


def test_versions_are_those_of_installed_packages_only() -> None:
    versions = library_versions(["pydantic", "no-such-package-here"])

    assert list(versions) == ["pydantic"]
    assert versions["pydantic"][0].isdigit()


def test_environment_names_what_a_result_depends_on() -> None:
    found = environment("cuda:0")

    assert found.python == ".".join(map(str, sys.version_info[:3]))
    assert found.device == "cuda:0"
    assert found.versions["thinker"] == thinker.__version__
    assert found.versions["pydantic"]
    assert found.cpu_count >= 1


def test_environment_leaves_the_hosts_name_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.node", lambda: "a-host-of-mine")

    assert "a-host-of-mine" not in environment().model_dump_json()


def test_environment_and_records_import_nothing_heavy() -> None:
    script = (
        "import sys; from thinker.runs import RunRecorder, environment; from thinker.runs import plots; environment();"
        "print([name for name in ('torch', 'transformers', 'matplotlib', 'pytest', 'filelock', 'numpy') "
        "if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_threads_are_torchs_own_where_torch_is_loaded() -> None:
    torch = pytest.importorskip("torch")

    assert environment().threads == torch.get_num_threads()
