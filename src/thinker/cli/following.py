"""A pipeline command in a process that is not the first of several: quiet, unrecorded, and ended by the first."""

from __future__ import annotations

import logging
import sys
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from thinker.cli.entry import report
from thinker.cli.options import CommonOptions
from thinker.processes import Team
from thinker.processes.team import exit_code_of

if TYPE_CHECKING:
    from thinker.pipeline import Command

log = logging.getLogger("thinker")


def follow(team: Team, common: CommonOptions, command: Command, *, backend: str | None, trains: bool) -> int:
    """Wait for process 0, train along where the command trains, and return the exit code that process 0 ends with.

    Process 0 reports what goes wrong here; where it cannot any more, this process does.
    """
    from thinker.cli.session import configure_output

    quiet = replace(common, verbosity=-1, as_json=False)
    configure_output(quiet)
    log.setLevel(logging.ERROR)  # process 0 says the same warnings
    try:
        facts = team.wait_for_release() if trains else None
        if facts is not None:
            _train_along(team, common, command, backend, facts)
        return team.wait_for_end()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  process 0 hears of it, whatever it is
        if common.debug:
            sys.stderr.write("".join(traceback.format_exception(error)))
        exit_code = team.fail(error)
        if exit_code is None:
            exit_code = exit_code_of(error)
            if isinstance(error, Exception):
                report(error, debug=False, as_json=False)
        return exit_code


def _train_along(
    team: Team, common: CommonOptions, command: Command, backend: str | None, facts: dict[str, Any]
) -> None:
    from thinker.config import load_experiment
    from thinker.pipeline import ThinkerPipeline
    from thinker.runs.models import RunRecord
    from thinker.runs.unrecorded import Unrecorded

    experiment = load_experiment(common.config, command=command, overrides=common.overrides, backend=backend)
    record = RunRecord(
        run_id=facts["run_id"], timestamp=facts["timestamp"], command=command, config=experiment.config_path
    )
    recorder = Unrecorded(record, experiment.pipeline.runs_dir / record.run_id)
    ThinkerPipeline(experiment, recorder, team=team).train_along(facts)
