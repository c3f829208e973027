"""`thinker validate --explain`: what the gate's verdict rests on, and what changed since it last passed."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from thinker.cli.options import CommonOptions
from thinker.errors import EXIT_OK

if TYPE_CHECKING:
    from thinker.validation.gate_inputs import GateInputs
    from thinker.validation.receipt import StoredReceipt

_WIDEST_VALUE = 60


def explain_gate(common: CommonOptions) -> int:
    """Print the inputs; run nothing and record nothing."""
    from thinker import plugins
    from thinker.cli.session import configure_output
    from thinker.config import load_experiment
    from thinker.validation.known_verdicts import KnownVerdicts

    configure_output(common)
    experiment = load_experiment(common.config, command="validate", overrides=common.overrides)
    known = KnownVerdicts(experiment, plugins.resolve("tasks", experiment.pipeline.task)())
    standing = known.standing()
    compared = standing or known.latest()
    inputs = known.now(compared) if compared else known.inputs
    rows = _rows(inputs, compared.receipt.inputs if compared else None)
    if common.as_json:
        sys.stdout.write(json.dumps(_as_json(inputs, rows, compared, stands=standing is not None), indent=2) + "\n")
    else:
        _print(inputs, rows, compared, stands=standing is not None)
    return EXIT_OK


def _rows(inputs: GateInputs, before: GateInputs | None) -> list[dict[str, Any]]:
    """A row for each input, as it is now, with those that are gone; `change` is null for what is as it was."""
    changes: dict[tuple[str, str], str] = {}
    for change in inputs.changes_since(before) if before else ():
        changes[change.kind, change.name] = str(change)
    parts = {"file": inputs.files, "setting": inputs.settings, "version": inputs.versions}
    values = {(kind, name): value for kind, part in parts.items() for name, value in part.items()}
    values |= {key: None for key in changes if key not in values}
    return [
        {"kind": kind, "name": name, "value": value, "change": changes.get((kind, name))}
        for (kind, name), value in values.items()
    ]


def _as_json(
    inputs: GateInputs, rows: list[dict[str, Any]], compared: StoredReceipt | None, *, stands: bool
) -> dict[str, Any]:
    receipt = None
    if compared:
        created = compared.receipt.created
        receipt = {"path": compared.path.as_posix(), "digest": compared.receipt.digest, "created": created}
    return {"digest": inputs.digest, "passed_before": stands, "receipt": receipt, "inputs": rows}


def _print(inputs: GateInputs, rows: list[dict[str, Any]], compared: StoredReceipt | None, *, stands: bool) -> None:
    from thinker.cli.show import show_table
    from thinker.validation.gate_inputs import shown, shown_hash

    table = []
    for row in rows:
        value = shown_hash(row["value"]) if row["kind"] == "file" else shown(row["value"])
        change = (row["change"] or "").removeprefix(f"{row['name']} ")
        table.append([row["kind"], row["name"], _shortened(value), change])
    show_table(["kind", "input", "value", "since the last receipt"], table)
    if stands and compared:
        verdict = f"passed before (receipt {compared.receipt.digest[:12]}, {compared.receipt.created}); nothing changed"
    elif compared:
        verdict = (
            f"must run: {sum(bool(row['change']) for row in rows)} inputs changed since {compared.receipt.created}"
        )
    else:
        verdict = "must run: there is no receipt yet; what the test suite reads is known once it has run"
    sys.stdout.write(f"gate digest {inputs.digest[:12]}: {verdict}\n")


def _shortened(text: str) -> str:
    return text if len(text) <= _WIDEST_VALUE else f"{text[: _WIDEST_VALUE - 1]}…"
