"""The checks of the second pass, each a `thinker.validation.preflight.Check`."""

from __future__ import annotations

from thinker.config.experiment import Experiment
from thinker.tasks.base import Task
from thinker.validation.preflight import Check


def checks_for(experiment: Experiment, task: Task) -> list[Check]:
    """The checks that apply to an experiment.

    Raises:
        DataError: the records to evaluate, with which rows are compared, cannot be read.
        ConfigError: a check that the configuration names cannot be loaded.
    """
    return []
