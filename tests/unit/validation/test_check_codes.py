"""The table of codes: what users write into `data_validation.checks`, so it may grow but not change."""

import subprocess
import sys

from thinker.config.pipeline_models import SchemaField
from thinker.data.jsonl import RowCode
from thinker.validation.codes import CODES, by_slug, levels
from thinker.validation.rules import RowChecker

PUBLISHED = {
    "THK-DATA-001": "invalid-utf8",
    "THK-DATA-002": "invalid-json",
    "THK-DATA-003": "non-finite-number",
    "THK-DATA-004": "number-too-large",
    "THK-DATA-005": "lone-surrogate",
    "THK-DATA-006": "nested-too-deep",
    "THK-DATA-007": "row-not-object",
    "THK-DATA-008": "duplicate-key",
    "THK-DATA-010": "missing",
    "THK-DATA-011": "type",
    "THK-DATA-012": "empty",
    "THK-DATA-013": "pattern",
    "THK-DATA-014": "min",
    "THK-DATA-015": "max",
    "THK-DATA-016": "min_length",
    "THK-DATA-017": "max_length",
    "THK-DATA-018": "enum",
    "THK-DATA-019": "unique",
    "THK-DATA-040": "no-rows",
    "THK-DATA-041": "blank-line",
    "THK-DATA-042": "byte-order-mark",
    "THK-DATA-050": "example",
}


def test_no_published_code_changed_its_meaning() -> None:
    assert {code: entry.slug for code, entry in CODES.items() if code in PUBLISHED} == PUBLISHED


def test_slugs_are_unique_and_lead_back() -> None:
    assert [by_slug(entry.slug) for entry in CODES.values()] == list(CODES.values())


def test_every_code_of_a_line_is_in_the_table_under_its_name() -> None:
    assert {code.value: CODES[code].slug for code in RowCode} == {
        code.value: code.name.lower().replace("_", "-") for code in RowCode
    }


def test_every_code_explains_itself_in_a_sentence() -> None:
    assert all(entry.meaning.endswith(".") and "\n" not in entry.meaning for entry in CODES.values())


def test_what_makes_a_row_unreadable_cannot_be_turned_down() -> None:
    unreadable = set(RowCode) - {RowCode.DUPLICATE_KEY}
    assert {code for code, entry in CODES.items() if entry.fixed} == {*unreadable, "THK-DATA-040", "THK-DATA-050"}


def test_levels_are_the_defaults_where_nothing_is_said() -> None:
    found = levels({"THK-DATA-010": "off"})
    assert (found["THK-DATA-010"], found["THK-DATA-011"], found["THK-DATA-041"]) == ("off", "error", "warn")


def test_stating_a_fixed_level_as_it_is_does_no_harm() -> None:
    assert levels({"THK-DATA-002": "error"}) == levels({})


def test_a_row_checker_speaks_in_slugs_of_the_table() -> None:
    field = SchemaField(name="a", min=1, max=-1, enum=(5,), unique=True)
    checker = RowChecker([field])
    findings = [*checker.check({"a": 0}, 1), *checker.check({"a": 0}, 2)]
    assert {by_slug(finding.rule).slug for finding in findings} == {"min", "max", "enum", "unique"}


def test_importing_the_gate_imports_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "datasets", "numpy", "pytest", "_pytest", "rich")
    code = f"import sys, thinker.validation; print([name for name in {heavy} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
