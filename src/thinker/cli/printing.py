"""What commands write to standard output, and where they look for runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from thinker.cli.options import CommonOptions


def say(text: str) -> None:
    """One line."""
    sys.stdout.write(text + "\n")


def say_json(value: Any) -> None:
    """One value, indented."""
    say(json.dumps(value, indent=2, ensure_ascii=False))


def find_runs_dir(common: CommonOptions, runs_dir: Path | None) -> Path:
    """The folder given, else that of the pipeline file, else the default."""
    if runs_dir is not None:
        return runs_dir
    from thinker.config import load_runs_dir

    return load_runs_dir(common.config, overrides=common.overrides)
