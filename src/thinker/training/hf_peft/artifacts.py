"""What training leaves in the checkpoint folder: adapter, tokenizer, model card, and a manifest, written last."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thinker import __version__
from thinker.errors import EvaluationError
from thinker.files import sync_folder
from thinker.hashing import sha256_file

MANIFEST = "thinker.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
# Without these no one takes the folder for an adapter: they go first and come last.
_MARKS = (ADAPTER_CONFIG, MANIFEST)
_SAVING = ".saving-"


def save_adapter(
    model: Any,
    tokenizer: Any,
    folder: Path,
    provenance: Mapping[str, Any],
    *,
    taken_from_base: Mapping[str, Any] | None = None,
    state: Mapping[str, Any] | None = None,
) -> str:
    """Write everything beside `folder`'s files, then move it in, the manifest last. Returns the adapter's SHA-256.

    The old marks of an adapter go first, so that a crash leaves no folder that looks complete with files of two runs.

    Args:
        model: the PEFT model.
        tokenizer: goes with it.
        folder: the checkpoint folder.
        provenance: for manifest and model card.
        taken_from_base: of an adapter that began with a part of the base model, what `plain_lora` says.
        state: trained weights by name, where the model's own are divided among processes; None takes the model's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left_by_a_crash in folder.glob(f"{_SAVING}*"):
        shutil.rmtree(left_by_a_crash, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=_SAVING, dir=folder))
    try:
        # Asking whether embeddings were resized would ask the hub; they never are here.
        model.save_pretrained(temporary, state_dict=state, save_embedding_layers=False)
        if taken_from_base is not None:
            from thinker.training.hf_peft.plain_lora import save_as_plain_lora

            save_as_plain_lora(temporary, taken_from_base)
        tokenizer.save_pretrained(temporary)
        adapter_sha256 = sha256_file(temporary / ADAPTER_WEIGHTS)
        config_sha256 = sha256_file(temporary / ADAPTER_CONFIG)
        hashes = {"adapter_sha256": adapter_sha256, "adapter_config_sha256": config_sha256}
        manifest = {"thinker": __version__, **hashes, **provenance}
        (temporary / "README.md").write_text(model_card(manifest), encoding="utf-8")
        text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
        (temporary / MANIFEST).write_text(text, encoding="utf-8")
        _move_in(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return adapter_sha256


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of an adapter that Thinker trained; None for an adapter from elsewhere.

    Raises:
        EvaluationError: it is damaged.
    """
    path = folder / MANIFEST
    return read_object(path, ("adapter_sha256", "adapter_config_sha256", "base_model")) if path.is_file() else None


def read_object(path: Path, keys: Sequence[str] = ()) -> dict[str, Any]:
    """The JSON object in a file of the checkpoint folder.

    Raises:
        EvaluationError: it is damaged, or lacks one of `keys`.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path} cannot be read: {error}; train again") from error
    if not isinstance(value, dict) or not all(key in value for key in keys):
        raise EvaluationError(f"{path} is damaged: it lacks {', '.join(keys) or 'an object'}; train again")
    return value


def _move_in(temporary: Path, folder: Path) -> None:
    for name in reversed(_MARKS):
        (folder / name).unlink(missing_ok=True)
    unmarked = sorted(path.name for path in temporary.iterdir() if path.name not in _MARKS)
    names = [*unmarked, *_MARKS]
    for name in names:
        source = temporary / name
        if source.is_file():
            with source.open("rb+") as file:
                os.fsync(file.fileno())
        source.replace(folder / name)
    sync_folder(folder)


def model_card(manifest: Mapping[str, Any]) -> str:
    """A model card in the hub's format, with where the adapter comes from."""
    base = manifest["base_model"]["name"]
    rows = "\n".join(f"| {key.replace('_', ' ')} | {_shown(value)} |" for key, value in sorted(manifest.items()))
    gate = "did not go through the gate (--skip-validation)" if manifest.get("gate_skipped") else "passed the gate"
    # A local path is no id on a hub; the front matter then leaves the base model out.
    front = f"base_model: {base}\n" if manifest["base_model"].get("kind") == "hub" else ""
    return (
        f"---\nlibrary_name: peft\n{front}tags:\n- lora\n- thinker\n---\n\n"
        f"# LoRA adapter for {Path(base).name}\n\n"
        f"Trained by Thinker; the data {gate} before the first step.\n\n"
        '```python\nfrom peft import PeftModel\n\nmodel = PeftModel.from_pretrained(base_model, "this folder")\n```\n\n'
        f"## Provenance\n\n| | |\n|---|---|\n{rows}\n"
    )


def _shown(value: Any) -> str:
    return f"`{json.dumps(value, sort_keys=True)}`" if isinstance(value, dict | list) else f"`{value}`"
