"""What can be wrong with a dataset, by code.

A code keeps its number and meaning for good; the gaps between the groups are for new ones.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from thinker.config.pipeline_models import CheckLevel
from thinker.errors import ConfigError


@dataclass(frozen=True)
class Code:
    """One kind of problem.

    Attributes:
        code: as printed, and as `data_validation.checks` takes it.
        slug: the rule's short name.
        level: the default.
        meaning: one sentence.
        fixed: whether `data_validation.checks` cannot change the level, because such a row cannot be read at all.
    """

    code: str
    slug: str
    level: CheckLevel
    meaning: str
    fixed: bool = False


_TABLE: Final = (
    # 001-009: a line by itself
    Code("THK-DATA-001", "invalid-utf8", "error", "The line is not valid UTF-8.", fixed=True),
    Code("THK-DATA-002", "invalid-json", "error", "The line is not valid JSON.", fixed=True),
    Code("THK-DATA-003", "non-finite-number", "error", "NaN and Infinity are not JSON.", fixed=True),
    Code("THK-DATA-004", "number-too-large", "error", "No 64-bit float can hold the number.", fixed=True),
    Code("THK-DATA-005", "lone-surrogate", "error", "An escape stands for half of a character.", fixed=True),
    Code(
        "THK-DATA-006", "nested-too-deep", "error", "Objects and arrays are nested deeper than 128 levels.", fixed=True
    ),
    Code("THK-DATA-007", "row-not-object", "error", "The line holds JSON, but not an object.", fixed=True),
    Code("THK-DATA-008", "duplicate-key", "warn", "A key appears twice in an object; the last one counts."),
    # 010-039: the schema's fields
    Code("THK-DATA-010", "missing", "error", "A required field is absent, or null where null is not allowed."),
    Code("THK-DATA-011", "type", "error", "The value has another type than the schema allows."),
    Code("THK-DATA-012", "empty", "error", "A string, array or object is empty, or a string holds white space alone."),
    Code("THK-DATA-013", "pattern", "error", "The string does not match the pattern."),
    Code("THK-DATA-014", "min", "error", "The number is less than the least value allowed."),
    Code("THK-DATA-015", "max", "error", "The number is greater than the greatest value allowed."),
    Code("THK-DATA-016", "min_length", "error", "The string, array or object is shorter than allowed."),
    Code("THK-DATA-017", "max_length", "error", "The string, array or object is longer than allowed."),
    Code("THK-DATA-018", "enum", "error", "The value is none of those allowed."),
    Code("THK-DATA-019", "unique", "error", "The value appears more than once in a field whose values must be unique."),
    # 040-049: the file as a whole
    Code("THK-DATA-040", "no-rows", "error", "The file holds no rows.", fixed=True),
    Code("THK-DATA-041", "blank-line", "warn", "A blank line is skipped."),
    Code("THK-DATA-042", "byte-order-mark", "warn", "The file starts with a byte order mark, which is skipped."),
    # 050-059: what the task makes of a row
    Code("THK-DATA-050", "example", "error", "The task cannot read the row as an example.", fixed=True),
)

CODES: Final[Mapping[str, Code]] = {entry.code: entry for entry in _TABLE}
_BY_SLUG: Final[Mapping[str, Code]] = {entry.slug: entry for entry in _TABLE}


def by_slug(slug: str) -> Code:
    """The code whose rule is called `slug`. Raises KeyError."""
    return _BY_SLUG[slug]


def levels(checks: Mapping[str, CheckLevel]) -> dict[str, CheckLevel]:
    """Each code's level: that of `checks`, else its default.

    Raises:
        ConfigError: `checks` names an unknown code, or one whose level is fixed.
    """
    problems = tuple(filter(None, (_refusal(name, level) for name, level in checks.items())))
    if problems:
        raise ConfigError("; ".join(problems), problems)
    return {entry.code: checks.get(entry.code, entry.level) for entry in _TABLE}


def _refusal(name: str, level: CheckLevel) -> str | None:
    where = f"data_validation.checks.{name}"
    if name not in CODES:
        return f"{where}: unknown code{_suggestion(name)}"
    entry = CODES[name]
    if entry.fixed and level != entry.level:
        return f"{where}: the level of {name} ({entry.slug}) is always '{entry.level}': {entry.meaning} Mend the rows"
    return None


def _suggestion(name: str) -> str:
    if name.lower() in _BY_SLUG:
        return f", did you mean '{_BY_SLUG[name.lower()].code}'?"
    near = difflib.get_close_matches(name.upper(), CODES, n=1) or [
        _BY_SLUG[slug].code for slug in difflib.get_close_matches(name.lower(), _BY_SLUG, n=1)
    ]
    return f", did you mean '{near[0]}' ({CODES[near[0]].slug})?" if near else f" (known: {', '.join(CODES)})"
