"""The token checks once more, with the tokenizer as Transformers loads it, where the gate saw other ids or none."""

from __future__ import annotations

import logging
from itertools import islice
from pathlib import Path
from typing import Final

from thinker.config.experiment import Experiment
from thinker.data.encode import TextTokenizer
from thinker.errors import DataError
from thinker.tasks.base import Task
from thinker.validation.checks.tokens import token_checks
from thinker.validation.codes import levels
from thinker.validation.preflight import run_preflight
from thinker.validation.report import Report

log = logging.getLogger("thinker")
_SHOWN: Final = 10


def recheck_tokens(
    experiment: Experiment,
    task: Task,
    tokenizer: TextTokenizer,
    *,
    dataset_sha256: str,
    cache_dir: Path,
    gate_encoding_sha256: str | None,
) -> None:
    """Say why the gate's token checks do not hold for training, and make them again; warnings are logged.

    Args:
        experiment: the configuration.
        task: the experiment's.
        tokenizer: as training uses it.
        dataset_sha256: of the rows that were encoded.
        cache_dir: the experiment's.
        gate_encoding_sha256: of what the gate encoded; None where it found no tokenizer.

    Raises:
        DataError: rows have errors as training would see them, or are no longer those that were encoded.
    """
    if gate_encoding_sha256 is None:
        log.info("the gate found no tokenizer: the checks that count tokens are made now")
    else:
        log.warning(
            "the tokenizer as Transformers loads it cuts rows into other tokens than the model's tokenizer.json says, "
            "which the gate went by; the checks that count tokens are made again. To make the two agree, write the "
            "tokenizer anew with save_pretrained of Transformers"
        )
    config = experiment.pipeline.data_validation
    report = Report(experiment.dataset, levels(config.checks))
    run_preflight(
        experiment.dataset,
        task,
        token_checks(experiment, task, cache_dir, tokenizer),
        report,
        max_examples=config.max_examples,
        expected_sha256=dataset_sha256,
    )
    for problem in islice(report.warnings, _SHOWN):
        log.warning(str(problem))
    errors = list(islice(report.errors, _SHOWN))
    if not errors:
        return
    for problem in errors if len(report.errors) > 1 else ():
        log.error(str(problem))
    count = f"{len(report.errors)} errors, the first: " if len(report.errors) > 1 else ""
    raise DataError(f"as training would encode the rows: {count}{errors[0]}; mend the rows and run it again")
