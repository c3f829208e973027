from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from thinker.runs import RunRecorder

Mount = Callable[..., Path]


@pytest.fixture
def config_path(tmp_path: Path) -> Path:
    path = tmp_path / "project" / "pipeline.yaml"
    path.parent.mkdir()
    path.write_text("tests: {enabled: false}\n", encoding="utf-8")
    return path


@pytest.fixture
def start(tmp_path: Path, config_path: Path) -> Iterator[Callable[..., RunRecorder]]:
    """Starts recorders whose log handlers are gone after the test, finished or not."""
    logger = logging.getLogger("thinker")
    handlers, level = list(logger.handlers), logger.level

    def begin(runs_dir: Path = tmp_path / "runs", **settings: object) -> RunRecorder:
        given = {"command": "run", "argv": ["thinker", "run"], "config_path": config_path, **settings}
        return RunRecorder.start(runs_dir, **given)

    yield begin
    for handler in [handler for handler in logger.handlers if handler not in handlers]:
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(level)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts an empty tmpfs and takes it away again; skips where mounting is not allowed."""
    mounted: list[Path] = []

    def tmpfs(name: str, options: str) -> Path:
        if sys.platform != "linux" or shutil.which("mount") is None:
            pytest.skip("needs Linux's mount")
        folder = tmp_path / name
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield tmpfs
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)
