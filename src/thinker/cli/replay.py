"""`thinker reproduce` and `thinker verify`: a run that is over, held against what is there now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from thinker.cli.options import CommonOptions
from thinker.cli.printing import find_runs_dir, say, say_json
from thinker.errors import EXIT_OK, ComparisonError

if TYPE_CHECKING:
    from thinker.runs.models import RunRecord
    from thinker.runs.reproduce import Reproduction
    from thinker.runs.verify import Verdict

_RUNS_DIR_KEY = "pipeline.runs_dir="


def reproduce_run(common: CommonOptions, run: str, runs_dir: Path | None, *, anyway: bool) -> int:
    """`thinker reproduce RUN`; the exit code is 0 for a match, 7 for a difference."""
    from thinker.cli.session import configure_output

    _refuse_overrides(common)
    configure_output(common)
    from thinker.runs.origin import RecordedRun
    from thinker.runs.reproduce import reproduce

    found = reproduce(RecordedRun.find(run, find_runs_dir(common, runs_dir)), anyway=anyway)
    exit_code = EXIT_OK if found.status == "match" else ComparisonError.exit_code
    if common.as_json:
        say_json({
            "status": found.status,
            "exit_code": exit_code,
            "run_id": found.run_id,
            "replayed": found.replayed,
            "differences": [each.as_json() for each in found.differences],
            "notes": list(found.notes),
            "made": _made(found.record),
        })  # fmt: skip
    elif common.verbosity >= 0 or exit_code != EXIT_OK:
        _show(found)
    return exit_code


def verify_run(common: CommonOptions, run: str, runs_dir: Path | None) -> int:
    """`thinker verify RUN`; the exit code is 0 where nothing is changed or missing, else 7."""
    from thinker.cli.session import configure_output
    from thinker.runs.origin import RecordedRun
    from thinker.runs.verify import counts, verify

    _refuse_overrides(common)
    configure_output(common)
    recorded = RecordedRun.find(run, find_runs_dir(common, runs_dir))
    verdicts = verify(recorded)
    found = counts(verdicts)
    intact = not found["changed"] and not found["missing"]
    exit_code = EXIT_OK if intact else ComparisonError.exit_code
    if common.as_json:
        as_json = [_verdict_as_json(each) for each in verdicts]
        status = "ok" if intact else "differs"
        say_json({"status": status, "exit_code": exit_code, "run_id": recorded.record.run_id, "counts": found,
               "hashes": as_json})  # fmt: skip
    elif common.verbosity >= 0 or not intact:
        _show_verdicts(recorded.record.run_id, verdicts, only_bad=common.verbosity < 0)
    return exit_code


def _show(found: Reproduction) -> None:
    for label, lines in (("input", found.inputs), ("result", found.results), ("note", found.notes)):
        for each in lines:
            say(f"{label:<8} {each}")
    if not found.replayed:
        count = len(found.inputs)
        said = "1 input is not as recorded" if count == 1 else f"{count} inputs are not as recorded"
        say(f"DIFFERS  run {found.run_id}: {said}; nothing was replayed (--anyway replays all the same)")
    elif found.status == "differs":
        say(f"DIFFERS  run {found.run_id}: replayed; what is listed first differed first")
    else:
        although = f", although {len(found.inputs)} of its inputs differ" if found.inputs else ""
        made = "; ".join(_made_in_words(found.record)) or "the gate's inputs and the counts of its dataset"
        say(f"MATCH    run {found.run_id}{although}: {made}")


def _made(record: RunRecord | None) -> dict[str, Any]:
    """What the replay made, by hash."""
    if record is None:
        return {}
    artifacts = {name: file.sha256 for name, file in record.artifacts.items() if "predictions" in name}
    trained, evaluated = record.training, record.evaluation
    adapter = {"adapter_sha256": trained.adapter_sha256, "steps": trained.steps} if trained else {}
    return {**adapter, **artifacts, **({"metrics": evaluated.metrics} if evaluated else {})}


def _made_in_words(record: RunRecord | None) -> list[str]:
    made = _made(record)
    words = [f"adapter sha256 {made['adapter_sha256']} ({made['steps']} steps)"] if "adapter_sha256" in made else []
    words += [
        f"{name.replace('_', ' ')} sha256 {made[name]}" for name in ("predictions", "base_predictions") if name in made
    ]
    if "metrics" in made:
        words.append(f"{len(made['metrics'])} metrics")
    if not words and record is not None and record.plan is not None:
        words.append(f"plan of {record.plan.steps} steps over {record.plan.rows} rows")
    return words


def _show_verdicts(run_id: str, verdicts: list[Verdict], *, only_bad: bool) -> None:
    from thinker.cli.show import show_table
    from thinker.runs.verify import counts

    shown = [each for each in verdicts if not only_bad or each.status in ("changed", "missing")]
    rows = [[each.what, each.path or "–", each.status + (f": {each.detail}" if each.detail else "")] for each in shown]
    show_table(["what", "path", "status"], rows)
    said = ", ".join(f"{count} {status}" for status, count in counts(verdicts).items() if count)
    say(f"run {run_id}: {said}")


def _verdict_as_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "what": verdict.what,
        "path": verdict.path or None,
        "status": verdict.status,
        "recorded": verdict.recorded or None,
        "keys": list(verdict.keys),
        "detail": verdict.detail or None,
    }


def _refuse_overrides(common: CommonOptions) -> None:
    if any(not each.strip().startswith(_RUNS_DIR_KEY) for each in common.overrides):
        raise click.UsageError("the run's own --set expressions are used, as its record has them; give none here")
