"""Receipts: a passed gate as a file that names, by hash, everything that its verdict rests on.

A receipt is an in-toto Statement v1 (https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md) with the
test-result predicate v0.1 (https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md). What
Thinker itself needs stands under the extension field `thinker_gate`, which other readers of in-toto leave alone. It is
not signed: it protects from accidents and stale verdicts, not from someone who forges one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from thinker.files import write_atomically
from thinker.hashing import digest
from thinker.runs.files import clean, render_json
from thinker.validation.gate_inputs import GateInputs

log = logging.getLogger("thinker")

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://in-toto.io/attestation/test-result/v0.1"
EXTENSION: Final = "thinker_gate"
FORMAT: Final = 1
KEPT: Final = 20

Result = Literal["PASSED", "WARNED"]


@dataclass(frozen=True)
class Receipt:
    """One passed gate.

    Attributes:
        inputs: what the verdict rests on; its digest is the file's name.
        pipeline: name of the pipeline file.
        created: when the gate passed (UTC, `2026-01-31T23:59:59Z`).
        run_id: the run that it passed in.
        validation: that run's section of the record.
        subjects: names of the dataset's files.
        passed_tests: names of the tests that passed.
        warned: codes of the dataset's checks that warned.
    """

    inputs: GateInputs
    pipeline: str
    created: str
    run_id: str
    thinker_version: str
    validation: Mapping[str, Any]
    subjects: Sequence[str]
    passed_tests: Sequence[str]
    warned: Sequence[str]

    @property
    def digest(self) -> str:
        """The gate digest."""
        return self.inputs.digest

    def statement(self) -> dict[str, Any]:
        """The in-toto statement, sealed by the hash of all that it says."""
        hashes = self.inputs.files
        others = {name: sha256 for name, sha256 in hashes.items() if name not in self.subjects and sha256 is not None}
        others |= {part: digest(value) for part, value in self.inputs.as_json().items() if part != "files"}
        result: Result = "WARNED" if self.warned else "PASSED"
        extension: dict[str, Any] = {
            "format": FORMAT,
            "gate_digest": self.digest,
            "pipeline": self.pipeline,
            "created": self.created,
            "run_id": self.run_id,
            "thinker_version": self.thinker_version,
            "inputs": self.inputs.as_json(),
            "validation": clean(self.validation),
        }
        statement: dict[str, Any] = {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": hashes[name]}} for name in self.subjects],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "result": result,
                "configuration": [{"name": name, "digest": {"sha256": sha256}} for name, sha256 in others.items()],
                "passedTests": clean([*self.passed_tests, *(() if self.warned else ("dataset",))]),
                "warnedTests": [f"dataset {code}" for code in self.warned],
                "failedTests": [],
                EXTENSION: extension,
            },
        }
        extension["seal"] = digest(statement)
        return statement


@dataclass(frozen=True)
class StoredReceipt:
    """A receipt and where it lies."""

    path: Path
    receipt: Receipt


def now() -> str:
    """The time as receipts have it."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


class ReceiptError(Exception):
    """Why a file is no receipt that can be used."""


class ReceiptFolder:
    """The receipts beside one pipeline file: `.thinker/receipts/<gate digest>.json`."""

    def __init__(self, config_path: Path) -> None:
        self.folder = config_path.parent / ".thinker" / "receipts"

    def read(self) -> list[StoredReceipt]:
        """All that can be used, newest first; a warning names each file that cannot."""
        found, refused = self._all()
        for path, why in refused.items():
            log.warning("receipt %s is passed over: %s; delete it", path, why)
        return found

    def write(self, receipt: Receipt) -> Path | None:
        """Keep a receipt, and of all receipts the newest; None with a warning where the folder cannot be written."""
        path = self.folder / f"{receipt.digest}.json"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, render_json(receipt.statement()) + "\n")
            for old in self._all()[0][KEPT:]:
                old.path.unlink(missing_ok=True)
        except OSError as error:
            log.warning(
                "no receipt is kept, and the next command runs the gate again: cannot write %s: %s",
                error.filename or path, error.strerror or error,
            )  # fmt: skip
            return None
        return path

    def _all(self) -> tuple[list[StoredReceipt], dict[Path, Exception]]:
        """The receipts, newest first, and why other files are none."""
        found: list[tuple[StoredReceipt, int]] = []
        refused: dict[Path, Exception] = {}
        for path in sorted(self.folder.glob("*.json")):
            if path.name.startswith("."):  # being written
                continue
            try:
                found.append((StoredReceipt(path, read_receipt(path)), path.stat().st_mtime_ns))
            except (ReceiptError, OSError) as error:
                refused[path] = error
        found.sort(key=lambda item: (item[0].receipt.created, item[1]), reverse=True)
        return [stored for stored, _ in found], refused


def read_receipt(path: Path) -> Receipt:
    """The receipt in `path`.

    Raises:
        ReceiptError: it is torn, altered, of another kind or of another version.
        OSError: it cannot be read.
    """
    try:
        statement = json.loads(path.read_bytes())
        if statement["_type"] != STATEMENT_TYPE or statement["predicateType"] != PREDICATE_TYPE:
            raise ReceiptError("it is another kind of statement")
        predicate = statement["predicate"]
        own = predicate[EXTENSION]
        if own["format"] != FORMAT:
            raise ReceiptError(f"its format {own['format']} is not that of this version of Thinker ({FORMAT})")
        seal = own.pop("seal")
        inputs = GateInputs(**{name: dict(own["inputs"][name]) for name in ("settings", "files", "versions")})
        if digest(statement) != seal or {inputs.digest, own["gate_digest"]} != {path.stem}:
            raise ReceiptError("it was altered: it does not hash to what it says")
        return Receipt(
            inputs=inputs,
            pipeline=own["pipeline"],
            created=own["created"],
            run_id=own["run_id"],
            thinker_version=own["thinker_version"],
            validation=own["validation"],
            subjects=[each["name"] for each in statement["subject"]],
            passed_tests=[name for name in predicate["passedTests"] if name != "dataset"],
            warned=[name.removeprefix("dataset ") for name in predicate["warnedTests"]],
        )
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ReceiptError("it is no receipt, or was not written to its end") from error
