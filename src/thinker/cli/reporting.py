"""The options `--max-errors` and `--report` as a gate understands them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from thinker.cli.options import CommonOptions

if TYPE_CHECKING:
    from thinker.config import Experiment
    from thinker.validation.reporting import Reporting


def reporting(common: CommonOptions, max_errors: int, reports: Sequence[str]) -> Reporting:
    """How to tell problems: as tables where standard error is a terminal, as messages elsewhere and under `-q`.

    Raises:
        ConfigError: a report's format is not known.
    """
    from thinker.cli.show import show_problems
    from thinker.validation.reporting import Reporting
    from thinker.validation.reports import parse_target

    targets = tuple(parse_target(text) for text in reports)
    if common.as_json and any(target.path is None for target in targets):
        raise click.UsageError("--json and a --report on standard output ('-') exclude each other")
    in_tables = sys.stderr.isatty() and common.verbosity >= 0
    return Reporting(max_errors, targets, show_problems if in_tables else None)


def gate_inputs(experiment: Experiment) -> list[Path]:
    """The files that no report may replace."""
    from thinker.tasks.base import evaluation_inputs

    config = experiment.pipeline
    evaluated = evaluation_inputs(config.evaluation).values() if config.evaluation else ()
    named = (config.tests.path, config.data_validation.schema, config.training and config.training.config_path)
    paths = [path for path in named if isinstance(path, Path)]
    return [experiment.config_path, *experiment.dataset.paths, *paths, *evaluated]
