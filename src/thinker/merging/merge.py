"""Merge an adapter into its base model, read the result back, and prove that it does the same."""

from __future__ import annotations

import gc
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError

from thinker import __version__
from thinker.config.experiment import Experiment
from thinker.config.fingerprint import model_identity
from thinker.config.model_names import is_local
from thinker.errors import ComparisonError, ConfigError, EvaluationError
from thinker.evaluation.adapter import attach, check_base_model, require_adapter
from thinker.evaluation.base_model import EvaluatedModel
from thinker.hashing import digest, sha256_file
from thinker.merging.folder import check_target, folder_to_fill, write_papers
from thinker.merging.parity import Parity, RowOutput, compared, limit, row_outputs
from thinker.merging.rows import ParityRow, parity_rows
from thinker.merging.weights import merged_model
from thinker.modeling.determinism import prepare
from thinker.modeling.devices import DtypeName
from thinker.modeling.load import ModelSource, load_base_model, load_tokenizer
from thinker.runs.provenance import library_versions
from thinker.training.hf_peft.artifacts import ADAPTER_CONFIG, ADAPTER_WEIGHTS, read_manifest

log = logging.getLogger("thinker")

DtypeChoice = Literal["auto", "float32", "bfloat16", "float16"]
_PACKAGES = ("torch", "transformers", "peft", "tokenizers", "safetensors", "bitsandbytes")
_TRAINED = ("config_fingerprint", "dataset_sha256", "prompt_format", "run_id", "task", "training_fingerprint")


@dataclass(frozen=True)
class MergeReport:
    """What a merge wrote.

    Attributes:
        out: the folder.
        dtype: of the weights.
        quantization: of the base model in training.
        size_bytes: of all files.
        manifest: as it lies in the folder.
        parity: with base model and adapter.
    """

    out: Path
    dtype: str
    quantization: str
    size_bytes: int
    manifest: dict[str, Any]
    parity: Parity


def merge(experiment: Experiment, out: Path, *, dtype: DtypeChoice, row_count: int, cache_dir: Path) -> MergeReport:
    """Merge the adapter in the experiment's checkpoint folder, and leave the model in `out`, proved.

    One copy of the model is in memory at a time: base model and adapter for their outputs on the rows; the base model
    anew, whose weights are merged and written; what was written, for its outputs.

    Args:
        experiment: names base model, adapter and dataset.
        out: a new folder, or one that an earlier merge wrote; links followed.
        dtype: of the weights; `auto` as the base model is evaluated.
        row_count: rows of the dataset to compare on.
        cache_dir: for what can be computed again.

    Raises:
        PreconditionError: there is no model or adapter, or `out` cannot be taken.
        EvaluationError: adapter and base model do not belong together, or the adapter does nothing.
        ComparisonError: the merged model does something else; nothing is left at `out`.
    """
    folder = experiment.checkpoint_dir
    if folder is None or experiment.base_model is None:
        raise ConfigError("nothing names the adapter or its base model; give --checkpoint")
    base = EvaluatedModel.of(experiment, cache_dir)
    written: DtypeName = base.dtype if dtype == "auto" else dtype
    require_adapter(folder, "no adapter to merge")
    check_target(out, _inputs(experiment, folder))
    for announcement in base.announcements:
        log.warning(announcement)
    if base.quantization != "none":
        log.info(
            "merge: the %s weights of the base model are unpacked, merged, and written unpacked", base.quantization
        )
    prepare(0, strict=True)
    tokenizer = load_tokenizer(base.source)  # first: a hub model is known by its commit once some of it is here
    facts = _checked(experiment, folder, base)
    rows = parity_rows(experiment, tokenizer, folder, row_count)
    without, adapted = _reference(base, folder, rows, tokenizer.eos_token_id)
    with folder_to_fill(out) as temporary:
        _write(base, folder, written, tokenizer, temporary)
        found = _written_outputs(experiment, base, folder, written, rows, temporary)
        allowed = limit(written, base.dtype, base.quantization)
        parity = compared(found, adapted, without, rows, limit=allowed)
        parity.require()
        if _hashes(folder) != {name: facts["adapter"][name] for name in _hashes(folder)}:
            raise EvaluationError(f"the adapter in {folder} changed while it was merged; merge again")
        manifest = write_papers(temporary, {**facts, "dtype": written, "evaluated_dtype": base.dtype}, parity)
        size_bytes = sum(path.stat().st_size for path in temporary.iterdir())
    return MergeReport(out, written, base.quantization, size_bytes, manifest, parity)


def _checked(experiment: Experiment, folder: Path, base: EvaluatedModel) -> dict[str, Any]:
    """What goes into the manifest about adapter and base model, which are found to belong together."""
    assert experiment.base_model is not None  # merge() saw to it
    identity = model_identity(experiment.base_model, base.source.revision)
    check_base_model(folder, experiment.base_model, identity)
    trained = read_manifest(folder) or {}
    return {
        "thinker": __version__,
        "adapter": {**_hashes(folder), **{key: trained[key] for key in _TRAINED if key in trained}},
        "base_model": {"name": experiment.base_model, "identity": digest(identity), "kind": identity["kind"]},
        "quantization": base.quantization,
        "versions": library_versions(_PACKAGES),
    }


def _hashes(folder: Path) -> dict[str, str]:
    names = {"adapter_sha256": ADAPTER_WEIGHTS, "adapter_config_sha256": ADAPTER_CONFIG}
    return {key: sha256_file(folder / name) for key, name in names.items()}


def _inputs(experiment: Experiment, folder: Path) -> list[Path]:
    """Files and folders that no merged model may replace."""
    assert experiment.base_model is not None  # merge() saw to it
    training = experiment.pipeline.training
    named = [experiment.config_path, *([training.config_path] if training else []), *experiment.dataset.paths]
    return [folder, *named, *([Path(experiment.base_model)] if is_local(experiment.base_model) else [])]


def _reference(
    base: EvaluatedModel, folder: Path, rows: list[ParityRow], eos_id: int
) -> tuple[list[RowOutput], list[RowOutput]]:
    """Outputs of the base model as it is evaluated, without the adapter and with it."""
    model = base.load()
    without = row_outputs(model, rows, "base model", eos_id=eos_id, continued=False)
    model = attach(model, folder)
    adapted = row_outputs(model, rows, "base model and adapter", eos_id=eos_id)
    del model
    _free()
    return without, adapted


def _write(base: EvaluatedModel, folder: Path, dtype: DtypeName, tokenizer: Any, out: Path) -> None:
    """Merge, on the weights with which the adapter is evaluated, and write model and tokenizer."""
    log.info("merge: writing %s weights", dtype)
    model = merged_model(base.load(), folder, getattr(torch, dtype))
    try:
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)
    except SafetensorError as error:  # a full disk
        raise OSError(str(error)) from error
    finally:
        del model
        _free()


def _written_outputs(
    experiment: Experiment, base: EvaluatedModel, folder: Path, dtype: DtypeName, rows: list[ParityRow], out: Path
) -> list[RowOutput]:
    """Outputs of the model in `out`, its own tokenizer found to give the same rows."""
    source = ModelSource(str(out), None, None, base.source.cache_dir)
    tokenizer = load_tokenizer(source)
    again = parity_rows(experiment, tokenizer, folder, len(rows))
    if again != rows:
        name = next((one.name for one, other in zip(rows, again, strict=False) if one != other), rows[0].name)
        raise ComparisonError(f"the tokenizer that was written cuts {name} into other tokens; nothing was written")
    model = load_base_model(source, device=base.device, dtype=dtype, device_map=base.device_map)
    try:
        return row_outputs(model, rows, "merged model", eos_id=tokenizer.eos_token_id)
    finally:
        del model
        _free()


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
