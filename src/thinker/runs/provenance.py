"""Where a run came from: the state of its repository, the machine, the versions of the packages."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import thinker
from thinker.hashing import sha256_file
from thinker.runs.models import Environment, FileRecord, GitState

log = logging.getLogger("thinker")

PACKAGES: Final = (
    "torch",
    "transformers",
    "peft",
    "tokenizers",
    "accelerate",
    "datasets",
    "bitsandbytes",
    "safetensors",
    "gguf",
    "numpy",
    "pydantic",
    "pytest",
    "ruamel.yaml",
    "tinker",
)
"""Packages whose versions a result may depend on."""

_GIT_TIMEOUT_S = 5.0
# A git hook that calls us sets these, and git would then look there instead of where we ask.
_GIT_VARIABLES: Final = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")


def git_state(path: Path) -> GitState | None:
    """Commit, branch and cleanliness of the repository that holds the folder (or the folder of the file) `path`.

    None where there is no repository, no `git`, or `git` fails or takes longer than 5 s: never an error.
    """
    folder = path if path.is_dir() else path.parent
    # No optional locks: the index stays as it is. No fsmonitor: it would run a program that the repository names.
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(folder)]
    command += ["status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    variables = {name: value for name, value in os.environ.items() if name not in _GIT_VARIABLES}
    try:
        done = subprocess.run(
            command, env=variables, capture_output=True, timeout=_GIT_TIMEOUT_S, stdin=subprocess.DEVNULL, check=True
        )
    except subprocess.CalledProcessError as error:
        log.debug("git: %s", error.stderr.decode("utf-8", "replace").strip())
        return None
    except (OSError, subprocess.TimeoutExpired) as error:
        log.debug("git: %s", error)
        return None
    return _parse_status(done.stdout.decode("utf-8", "replace"))


def _parse_status(text: str) -> GitState:
    """Read `git status --porcelain=v2 --branch`: `# branch.oid <commit>`, then one line for each changed file."""
    lines = text.splitlines()
    headers = {name: value for name, _, value in (line[2:].partition(" ") for line in lines if line.startswith("# "))}
    commit, branch = headers.get("branch.oid"), headers.get("branch.head")
    return GitState(
        commit=None if commit == "(initial)" else commit,
        branch=None if branch == "(detached)" else branch,
        dirty=any(not line.startswith("#") for line in lines),
    )


def describe_file(path: Path) -> FileRecord:
    """Path, SHA-256 and size of a file.

    Raises:
        OSError: it cannot be read.
    """
    return FileRecord(path=path, sha256=sha256_file(path), size_bytes=path.stat().st_size)


def environment(device: str | None = None) -> Environment:
    """Machine, process and package versions; imports nothing heavy. `device`: what the run computes on, where known."""
    torch = sys.modules.get("torch")
    return Environment(
        python=platform.python_version(),
        implementation=platform.python_implementation(),
        platform=platform.platform(),
        machine=platform.machine(),
        processor=_processor(),
        cpu_count=_usable_processors(),
        threads=torch.get_num_threads() if torch is not None else None,
        device=device,
        versions={"thinker": thinker.__version__, **library_versions(PACKAGES)},
    )


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """Version of each distribution in `names` that is installed, from its metadata, without importing it."""
    versions: dict[str, str] = {}
    for name in names:
        try:
            # Metadata that an interrupted installation left behind may lack the version.
            found: str | None = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if found:
            versions[name] = found
    return versions


def _usable_processors() -> int | None:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _processor() -> str | None:
    """The processor's model: `platform` knows it on Windows and macOS, the kernel's list on Linux."""
    if sys.platform != "linux":
        return platform.processor() or None
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
