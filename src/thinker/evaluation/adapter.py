"""Attach an adapter to the base model, and prove that it belongs there and does something."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from thinker.errors import EvaluationError, PreconditionError
from thinker.hashing import digest, sha256_file
from thinker.training.hf_peft.artifacts import ADAPTER_CONFIG, ADAPTER_WEIGHTS, read_manifest, read_object

log = logging.getLogger("thinker")


def require_adapter(folder: Path, problem: str = "no adapter to evaluate") -> None:
    """Refuse a folder without a complete adapter.

    Args:
        folder: where one should be.
        problem: what to call its absence.

    Raises:
        PreconditionError: says what is missing and suggests `thinker train`.
    """
    missing = [name for name in ("adapter_config.json", ADAPTER_WEIGHTS) if not (folder / name).is_file()]
    if missing:
        what = f"has no {' and no '.join(missing)}" if folder.is_dir() else "does not exist"
        what = "is not a folder" if folder.is_file() else what
        raise PreconditionError(f"{problem}: {folder} {what}; run `thinker train` first, or give --checkpoint")


def check_base_model(folder: Path, base_model: str, identity: dict[str, Any]) -> None:
    """Refuse an adapter of another base model, or one whose weights are not those that training wrote.

    Args:
        folder: the adapter's.
        base_model: name of the base model about to be used.
        identity: of that base model, as `thinker.config.fingerprint.model_identity` gives it.

    Raises:
        EvaluationError: names both base models.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        trained_on = read_object(folder / "adapter_config.json").get("base_model_name_or_path")
        if trained_on != base_model:
            log.warning("%s was not trained by Thinker; it names the base model '%s', not '%s'", folder, trained_on,
                        base_model)  # fmt: skip
        return
    recorded = manifest["base_model"]
    if recorded["identity"] != digest(identity):
        raise EvaluationError(
            f"the adapter in {folder} was trained on another base model: '{recorded['name']}' (identity "
            f"{recorded['identity'][:12]}), not '{base_model}' ({digest(identity)[:12]}); set evaluation.base_model to "
            "the first, or train again"
        )
    for name, key in ((ADAPTER_WEIGHTS, "adapter_sha256"), (ADAPTER_CONFIG, "adapter_config_sha256")):
        actual = sha256_file(folder / name)
        if actual != manifest[key]:
            raise EvaluationError(
                f"{folder / name} is not what training wrote (SHA-256 {actual[:12]}…, the manifest says "
                f"{manifest[key][:12]}…); train again"
            )


def attach(model: Any, folder: Path) -> Any:
    """`model` with the adapter of `folder`, every tensor of it in use.

    Raises:
        EvaluationError: the adapter does not fit the model, or PEFT would leave part of it out.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(folder / ADAPTER_WEIGHTS), framework="pt") as file:
            stored = set(file.keys())
    except SafetensorError as error:
        raise EvaluationError(f"{folder / ADAPTER_WEIGHTS} is damaged: {error}; train again") from error
    try:
        adapted = PeftModel.from_pretrained(model, str(folder))
    except (RuntimeError, ValueError, KeyError, TypeError, OSError) as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EvaluationError(f"the adapter in {folder} does not fit the base model: {first_line}") from error
    loaded = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    if stored != loaded:
        unused, unset = sorted(stored - loaded), sorted(loaded - stored)
        raise EvaluationError(
            f"the adapter in {folder} does not fit the base model: {len(unused)} of its tensors have no place in it "
            f"and {len(unset)} places got none (first: {(unused + unset)[0]}); check target_modules in "
            "adapter_config.json"
        )
    return adapted.eval()


def require_effect(model: Any, prompt_ids: tuple[int, ...]) -> float:
    """The largest change that the adapter makes to the logits after `prompt_ids`.

    Raises:
        EvaluationError: none at all.
    """
    import torch

    ids = torch.tensor([prompt_ids], device=model.device)
    with torch.no_grad():
        adapted = model(input_ids=ids).logits[:, -1].float()
        with model.disable_adapter():
            base = model(input_ids=ids).logits[:, -1].float()
    change = float((adapted - base).abs().max())
    if not change > 0:
        raise EvaluationError("the adapter changes nothing: the logits with and without it are equal; was it trained?")
    return change
