"""Which base model a name stands for: contents for local models, id and commit for those of the hub."""

from __future__ import annotations

import fnmatch
import os
import re
from pathlib import Path
from typing import Any, Final

from thinker.config.model_names import is_local
from thinker.hashing import sha256_file

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_DEFAULT_REVISION: Final = "main"
_NOT_THE_MODEL: Final = frozenset({".*", "*.md", "LICENSE*", "*.pyc"})
_WEIGHTS: Final = frozenset({"*.safetensors", "*.bin", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.onnx"})


def model_identity(name: str, revision: str | None) -> dict[str, Any]:
    """What `name` is, whatever the machine or folder: `kind` `gguf`, `folder` or `hub`, and what tells it apart.

    `gguf` has `sha256`, `folder` has `files` (relative name -> SHA-256), `hub` has `id` and `revision`: the commit, if
    the local hub cache knows it, else the revision as given. Asks no server, so call it once the model is there.

    Args:
        name: hub id, or absolute path of a folder or `.gguf` file.
        revision: branch, tag or commit of a hub model.

    Raises:
        OSError: a local model cannot be read.
    """
    if not is_local(name):
        return {"kind": "hub", "id": name, "revision": _cached_commit(name, revision) or revision}
    if Path(name).is_dir():
        return {"kind": "folder", "files": _model_files(Path(name))}
    return {"kind": "gguf", "sha256": sha256_file(Path(name))}


def tokenizer_identity(name: str, revision: str | None) -> dict[str, Any]:
    """What the tokenizer of `name` is: as `model_identity`, without the weights in a folder.

    Raises:
        OSError: a local model cannot be read.
    """
    if is_local(name) and Path(name).is_dir():
        return {"kind": "folder", "files": _model_files(Path(name), skip=_WEIGHTS)}
    return model_identity(name, revision)


def cached_snapshot(hub_id: str, revision: str | None) -> Path | None:
    """The folder of the local hub cache that holds the files of a hub model; None where none were downloaded.

    The layout is documented: https://huggingface.co/docs/huggingface_hub/guides/manage-cache, `snapshots`.
    """
    commit = _cached_commit(hub_id, revision)
    folder = _model_cache(hub_id) / "snapshots" / commit if commit else None
    return folder if folder and folder.is_dir() else None


def _model_files(folder: Path, skip: frozenset[str] = frozenset()) -> dict[str, str]:
    """SHA-256 of the files that a model is read from: those of the folder itself, not what others keep below it."""
    left_out = skip | _NOT_THE_MODEL
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return {
        path.name: sha256_file(path)
        for path in files
        if not any(fnmatch.fnmatchcase(path.name, pattern) for pattern in left_out)
    }


def _cached_commit(hub_id: str, revision: str | None) -> str | None:
    """The commit that a branch or tag stood for when last downloaded.

    The layout is documented: https://huggingface.co/docs/huggingface_hub/guides/manage-cache, `refs`.
    """
    if revision and _COMMIT.fullmatch(revision):
        return revision
    reference = _model_cache(hub_id) / "refs" / (revision or _DEFAULT_REVISION)
    try:
        commit = reference.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return commit if _COMMIT.fullmatch(commit) else None


def _model_cache(hub_id: str) -> Path:
    return _hub_cache() / f"models--{hub_id.replace('/', '--')}"


def _hub_cache() -> Path:
    if cache := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(cache).expanduser()
    home = os.environ.get("HF_HOME")
    user_cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(home) if home else Path(user_cache) / "huggingface").expanduser() / "hub"
