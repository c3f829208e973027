"""The checks of the second pass, each a `thinker.validation.preflight.Check`."""

from __future__ import annotations

from thinker.config.experiment import Experiment
from thinker.files import cache_dir
from thinker.tasks.base import ChecksRows, Task
from thinker.validation.checks.balance import LabelBalance
from thinker.validation.checks.custom import custom_checks
from thinker.validation.checks.duplicates import Duplicates
from thinker.validation.checks.leakage import leakage_checks
from thinker.validation.checks.tokens import token_checks
from thinker.validation.preflight import Check


def checks_for(experiment: Experiment, task: Task) -> list[Check]:
    """The checks that apply to an experiment.

    Raises:
        DataError: the records to evaluate, with which rows are compared, cannot be read.
        ConfigError: a check that the configuration names cannot be loaded.
    """
    return [
        *(task.checks(experiment.pipeline.evaluation) if isinstance(task, ChecksRows) else ()),
        Duplicates(),
        LabelBalance(task),
        *leakage_checks(experiment, task),
        *token_checks(experiment, task, cache_dir(experiment.config_path)),
        *custom_checks(experiment.pipeline.data_validation.custom_checks),
    ]
