"""The hashes of a gate, computed again without running it and without Transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from thinker import plugins
from thinker.config import Experiment
from thinker.config.model_names import is_local
from thinker.files import cache_dir
from thinker.modeling.gguf import unpacked_tokenizer
from thinker.validation.checks.tokens import token_checks
from thinker.validation.codes import levels
from thinker.validation.known_verdicts import DAY, KnownVerdicts
from thinker.validation.preflight import run_preflight
from thinker.validation.receipt import ReceiptError, StoredReceipt, read_receipt
from thinker.validation.report import Report

_NAMED: Final = 5


class NotCheckedError(Exception):
    """Why a hash is not computed again. Becomes a verdict, never an error of the program."""


def gate_digest(experiment: Experiment, receipt: Path) -> tuple[str, str]:
    """The gate digest of the files and settings of now, and in words which of them changed since the receipt.

    Versions of packages, and the day that some prompts hold, stay as the receipt has them: no file is damaged by them.

    Raises:
        NotCheckedError: the receipt, which says what the test suite read, cannot be used.
        DataError: an input of the gate cannot be read.
    """
    try:
        stored = StoredReceipt(receipt, read_receipt(receipt))
    except (ReceiptError, OSError) as error:
        raise NotCheckedError("its receipt cannot be used, which says what the test suite read") from error
    task = plugins.resolve("tasks", experiment.pipeline.task)()
    now = KnownVerdicts(experiment, task).now(stored)
    changed = now.changes_since(stored.receipt.inputs)
    lasting = [str(change) for change in changed if change.kind != "version" and change.name != DAY]
    if not lasting:
        return stored.receipt.digest, ""
    more = f" and {len(lasting) - _NAMED} more" if len(lasting) > _NAMED else ""
    return now.digest, ", ".join(lasting[:_NAMED]) + more


def encoding_sha256(experiment: Experiment, dataset_sha256: str) -> str:
    """The hash of the rows as token ids, as the gate computes it.

    Raises:
        NotCheckedError: the tokenizer is not at hand, or the ids depend on the day.
        DataError: the dataset cannot be read.
    """
    cache = cache_dir(experiment.config_path)
    model = experiment.recipe.model.name if experiment.recipe else ""
    if is_local(model) and Path(model).is_file() and unpacked_tokenizer(Path(model), cache) is None:
        raise NotCheckedError("the tokenizer of the .gguf model is not in the cache")
    task = plugins.resolve("tasks", experiment.pipeline.task)()
    config = experiment.pipeline.data_validation
    statistics = run_preflight(
        experiment.dataset,
        task,
        token_checks(experiment, task, cache),
        Report(experiment.dataset, levels(config.checks)),
        max_examples=config.max_examples,
        expected_sha256=dataset_sha256,
    ).statistics
    found = statistics.get("encoding_sha256")
    if not isinstance(found, str):
        raise NotCheckedError("no tokenizer was found for the model")
    if statistics["tokens"]["dated"]:
        raise NotCheckedError("the chat template writes the date: the ids are those of the day")
    return found
