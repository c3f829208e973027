"""The folder of a merged model: there whole or not at all, and never in the place of anything else."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from thinker.errors import PreconditionError
from thinker.files import sync_folder, sync_tree
from thinker.hashing import sha256_file
from thinker.merging.parity import Parity

MANIFEST: Final = "merge.json"
_KIND: Final = "merged model"


def check_target(out: Path, inputs: Sequence[Path]) -> None:
    """Refuse a folder that holds anything but an earlier merge as it was written.

    Args:
        out: where the merged model is to go, with links followed.
        inputs: what it is made from; none of it may lie there.

    Raises:
        PreconditionError: says what is in the way.
    """
    for taken in inputs:
        if taken.resolve().is_relative_to(out):
            raise PreconditionError(
                f"--out {out} would overwrite {taken}, which goes into the merge; name a new folder"
            )
    if out.exists() and not out.is_dir():
        raise PreconditionError(f"--out {out} is not a folder; name a new one")
    if out.is_dir() and any(out.iterdir()) and (why := _not_ours(out)):
        raise PreconditionError(
            f"--out {out} is not empty, and not as `thinker merge` left it: {why}; name a new folder, or empty it"
        )


def _not_ours(folder: Path) -> str | None:
    """Why `folder` may hold what someone would miss; None where it is an earlier merge, file by file."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = dict(manifest["files"]) if manifest["kind"] == _KIND else {}
    except (OSError, ValueError, KeyError, TypeError):
        return f"it has no {MANIFEST} of a merge"
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name == MANIFEST:
            continue
        if path.is_dir() or name not in files:
            return f"{name} is not part of the merge"
        if sha256_file(path) != files[name]:
            return f"{name} was changed"
    return None


@contextlib.contextmanager
def folder_to_fill(out: Path) -> Iterator[Path]:
    """A new folder beside `out` to fill, which takes its place when the block ends well; else nothing is left of it.

    Raises:
        PreconditionError: it cannot be written.
    """
    temporary = out.parent / f".{out.name}.merging-{uuid.uuid4().hex[:8]}"
    try:
        temporary.mkdir(parents=True)
        yield temporary
        sync_tree(temporary)
        _put(temporary, out)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise PreconditionError(f"cannot write the merged model to {out}: {reason}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put(temporary: Path, out: Path) -> None:
    """Two renames where an earlier merge lies there; the first is undone if the second fails."""
    if not out.is_dir():
        temporary.rename(out)
    else:
        former = temporary.with_name(temporary.name.replace(".merging-", ".former-"))
        out.rename(former)
        try:
            temporary.rename(out)
        except OSError:
            former.rename(out)
            raise
        shutil.rmtree(former, ignore_errors=True)
    sync_folder(out.parent)


def write_papers(folder: Path, facts: Mapping[str, Any], parity: Parity) -> dict[str, Any]:
    """Add model card and manifest, which has the hash of every other file, to a merged model. Returns the manifest."""
    manifest = {"kind": _KIND, **facts, "parity": parity.as_json()}
    (folder / "README.md").write_text(model_card(manifest), encoding="utf-8")
    manifest["files"] = {path.name: sha256_file(path) for path in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return manifest


def model_card(manifest: Mapping[str, Any]) -> str:
    """A model card in the hub's format, with what was merged and how it was proved."""
    base, adapter, parity = manifest["base_model"], manifest["adapter"], manifest["parity"]
    front = f"base_model: {base['name']}\n" if base["kind"] == "hub" else ""
    quantization = manifest["quantization"]
    quantized = "" if quantization == "none" else f" ({quantization} weights, unpacked)"
    rows = {
        "weights": manifest["dtype"],
        "adapter, SHA-256": adapter["adapter_sha256"],
        "base model, identity": base["identity"],
        "largest difference of a logit": f"{parity['max_logit_difference']:.3g}",
        "root mean square of the differences": f"{parity['rms_logit_difference']:.3g}",
        "the same of the adapter's effect": f"{parity['rms_adapter_effect']:.3g}",
        "same likeliest token": f"{parity['greedy_agreement']:.1%} of positions",
        f"same {parity['continuation_tokens']} greedy tokens": f"{parity['continuation_agreement']:.1%} of prompts",
    }
    table = "\n".join(f"| {key} | `{value}` |" for key, value in rows.items())
    return (
        f"---\nlibrary_name: transformers\n{front}tags:\n- lora\n- merged\n- thinker\n---\n\n"
        f"# {Path(base['name']).name} with a LoRA adapter merged in\n\n"
        f"Made by Thinker's `merge` from the base model{quantized}, and compared, as it lies here, with base model and "
        f"adapter on {len(parity['rows'])} rows. `{MANIFEST}` has every figure and the hash of every file.\n\n"
        "```python\nfrom transformers import AutoModelForCausalLM\n\n"
        'model = AutoModelForCausalLM.from_pretrained("this folder", dtype="auto")\n```\n\n'
        f"| | |\n|---|---|\n{table}\n"
    )
