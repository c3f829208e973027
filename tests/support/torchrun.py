"""Runs `thinker` in several processes on this machine, as a user's `torchrun` would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from .project import Project


@dataclass(frozen=True)
class Launched:
    """What became of a launch.

    Attributes:
        launcher_code: exit code of torchrun itself: 0, or 1 whatever a process ended with.
        exit_codes: of the processes that did not end with 0, by rank, from torchrun's report.
        out: standard output of all.
        said: standard error of all, without torchrun's own report.
    """

    launcher_code: int
    exit_codes: dict[int, int]
    out: str
    said: str

    @classmethod
    def of(cls, launcher_code: int, out: str, err: str) -> Launched:
        found = re.findall(r"rank\s*: (\d+) .*\n\s*exitcode\s*: (-?\d+)", err)
        said = "".join(line for line in err.splitlines(keepends=True) if line.startswith("[thinker]"))
        return cls(launcher_code, {int(rank): int(code) for rank, code in found}, out, said)


def start(project: Project, *arguments: str, processes: int = 2, env: Mapping[str, str] | None = None,
          launcher: tuple[str, ...] | None = None) -> subprocess.Popen[str]:  # fmt: skip
    """`torchrun --nproc-per-node PROCESSES -m thinker ARGUMENTS` in a process group of its own."""
    torchrun = ("torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m", "thinker")
    return subprocess.Popen(
        [sys.executable, "-m", *(launcher or torchrun), *arguments],
        cwd=project.root, env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def launch(project: Project, *arguments: str, **options: object) -> Launched:
    """As `start`, waited for."""
    process = start(project, *arguments, **options)  # type: ignore[arg-type]
    out, err = process.communicate(timeout=900)
    return Launched.of(process.returncode, out, err)
