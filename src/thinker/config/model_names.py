"""Names of base models: hub id, folder or `.gguf` file."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Final

from thinker.config.paths import absolute, file_mode

# https://huggingface.co/docs/huggingface_hub, `validate_repo_id`: owner and name, 96 characters, no "--" or "..".
_HUB_ID: Final = re.compile(r"(?:[A-Za-z0-9_][\w.-]*/)?[A-Za-z0-9_][\w.-]*", re.ASCII)
_LONGEST_HUB_ID: Final = 96


def is_local(name: str) -> bool:
    """Whether a resolved model name is a path (folder or `.gguf` file), not a hub id."""
    return Path(name).is_absolute()


def resolve_model_name(raw: str, base: Path, *, must_exist: bool) -> str:
    """A local model's absolute path, or a hub id as it is.

    What ends in `.gguf`, starts with `.` or `~`, is absolute, or exists below `base` is local.

    Args:
        raw: the name as written.
        base: the folder from which a relative path starts.
        must_exist: whether a local model that is not there is an error.

    Raises:
        ValueError: the name is neither, or nothing is there; the message says so.
    """
    place = absolute(raw, base)
    local = raw.lower().endswith(".gguf") or raw.startswith((".", "~")) or Path(raw).is_absolute()
    mode = file_mode(place)
    if local or mode:
        if must_exist and not mode:
            raise ValueError(f"no such model: {raw} (resolved: {place})")
        if stat.S_ISREG(mode) and place.suffix.lower() != ".gguf":
            raise ValueError(f"a file that is no .gguf model: {raw} (resolved: {place})")
        return str(place)
    sound = _HUB_ID.fullmatch(raw) and len(raw) <= _LONGEST_HUB_ID and "--" not in raw and ".." not in raw
    if not sound or raw.endswith((".", "-")):
        raise ValueError(f"neither a path (resolved: {place}) nor a hub id (owner/name): {raw}")
    return raw
