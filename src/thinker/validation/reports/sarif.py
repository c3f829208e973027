"""SARIF 2.1.0 (https://docs.oasis-open.org/sarif/sarif/v2.1.0/), which code scanning services and editors read."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TextIO

from thinker import __version__
from thinker.config.pipeline_models import CheckLevel
from thinker.validation import codes
from thinker.validation.problems import Problem
from thinker.validation.reports.problem_fields import said, uri

if TYPE_CHECKING:
    from thinker.validation.dataset import DatasetValidationResult

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS: Final[Mapping[CheckLevel, str]] = {"error": "error", "warn": "warning", "off": "none"}
_INDEXES: Final = {code: index for index, code in enumerate(codes.CODES)}


def write_sarif(result: DatasetValidationResult, out: TextIO) -> None:
    """One run: all codes as rules, errors and warnings as results."""
    documentation = documentation_url()
    rules = [_rule(entry, documentation) for entry in codes.CODES.values()]
    driver = {"name": "Thinker", "semanticVersion": __version__, "rules": rules}
    head = json.dumps({"$schema": _SCHEMA, "version": "2.1.0"})[:-1]
    out.write(f'{head}, "runs": [{{"tool": {json.dumps({"driver": driver}, ensure_ascii=False)}, "results": [')
    separator = "\n"
    for problem in itertools.chain(result.errors, result.warnings):
        out.write(separator + json.dumps(_result(problem), ensure_ascii=False))
        separator = ",\n"
    out.write("\n]}]}\n")


def documentation_url() -> str | None:
    """Where Thinker's documentation is published, as its package says; None where it does not."""
    for entry in importlib.metadata.metadata("thinker").get_all("Project-URL") or ():
        label, _, url = entry.partition(",")
        if label.strip() == "Documentation":
            return str(url).strip().rstrip("/")
    return None


def _rule(entry: codes.Code, documentation: str | None) -> dict[str, Any]:
    page = {"helpUri": f"{documentation}/checks/{entry.code}"} if documentation else {}
    return {
        "id": entry.code,
        "name": "".join(word.capitalize() for word in entry.slug.replace("_", "-").split("-")),
        "shortDescription": {"text": entry.meaning},
        "help": {"text": f"{entry.meaning} See docs/checks/{entry.code}.md of Thinker's documentation."},
        **page,
        "defaultConfiguration": {"enabled": entry.level != "off", "level": _LEVELS[entry.level]},
    }


def _result(problem: Problem) -> dict[str, Any]:
    location: dict[str, Any] = {"physicalLocation": {"artifactLocation": {"uri": uri(problem)}}}
    if problem.line:
        location["physicalLocation"]["region"] = {"startLine": problem.line}
    if problem.field:
        location["logicalLocations"] = [{"fullyQualifiedName": problem.field, "kind": "property"}]
    return {
        "ruleId": problem.code,
        "ruleIndex": _INDEXES[problem.code],
        "level": _LEVELS[problem.level],
        "message": {"text": said(problem)},
        "locations": [location],
        **({"properties": {"excerpt": problem.excerpt}} if problem.excerpt else {}),
    }
