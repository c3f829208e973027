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
    Code("THK-DATA-020", "validator", "error", "A validator named by the schema refuses the value."),
    Code("THK-DATA-021", "json-schema", "error", "The row breaks a rule of the JSON Schema."),
    # 040-049: the file as a whole
    Code("THK-DATA-040", "no-rows", "error", "The file holds no rows.", fixed=True),
    Code("THK-DATA-041", "blank-line", "warn", "A blank line is skipped."),
    Code("THK-DATA-042", "byte-order-mark", "warn", "The file starts with a byte order mark, which is skipped."),
    # 050-059: what the task makes of a row
    Code("THK-DATA-050", "example", "error", "The task cannot read the row as an example.", fixed=True),
    # 060-069: the row as tokens
    Code("THK-DATA-060", "overlong", "error", "The row has more tokens than training.max_seq_length."),
    Code("THK-DATA-061", "nothing-to-learn", "error", "No token of the completion carries loss, only its end."),
    Code("THK-DATA-062", "end-not-learned", "warn", "The end of the answer is not what generation stops at."),
    Code("THK-DATA-063", "special-token", "warn", "The text of a row holds one of the tokenizer's special tokens."),
    Code("THK-DATA-064", "double-bos", "error", "The row begins with the beginning-of-sequence token twice."),
    Code("THK-DATA-065", "boundary", "off", "Prompt and completion would be cut into other tokens if joined first."),
    Code("THK-DATA-066", "no-chat-template", "error", "The prompt format is chat, and the tokenizer has no template."),
    Code("THK-DATA-067", "no-steps", "error", "Training would take no optimizer step."),
    Code("THK-DATA-068", "warmup", "warn", "The warm-up is as long as the training, or longer."),
    Code("THK-DATA-069", "no-tokenizer", "warn", "The tokenizer was not found; no check that counts tokens was made."),
    # 070-079: SciFact's CLAIM and RELATION lines
    Code("THK-DATA-070", "claim-forgiven", "error", "The completion departs from the grammar where a reader can tell."),
    Code("THK-DATA-071", "claim-unparsed", "error", "A line of the completion says nothing in the grammar."),
    Code("THK-DATA-072", "c1-missing", "error", "The completion does not state the hypothesis as CLAIM[c1]."),
    Code("THK-DATA-073", "c1-differs", "error", "CLAIM[c1] is not the hypothesis of the prompt, word for word."),
    Code("THK-DATA-074", "evidence-not-verbatim", "error", "An evidence line is no sentence of the prompt's document."),
    Code("THK-DATA-075", "citation-unknown", "error", "An evidence line cites no document, or none of the prompt's."),
    Code("THK-DATA-076", "relation-unknown", "error", "A relation names a claim that the completion does not state."),
    Code("THK-DATA-077", "relation-contradiction", "error", "A claim both supports and refutes another."),
    Code("THK-DATA-078", "relation-cycle", "error", "Relations lead from a claim back to itself."),
    Code("THK-DATA-079", "prompt-form", "error", "The prompt has another form than the one evaluation builds."),
    # 080-089: rows beside each other
    Code("THK-DATA-080", "duplicate", "warn", "The example is the same as that of an earlier row."),
    Code("THK-DATA-081", "duplicate-normalised", "warn", "But for case, punctuation and spacing, an earlier example."),
    Code("THK-DATA-082", "conflict", "warn", "The prompt is that of an earlier row, the completion another."),
    Code("THK-DATA-083", "imbalance", "warn", "One label makes up almost all of the rows."),
    # 090-099: rows beside the records that are evaluated
    Code("THK-DATA-090", "leak", "warn", "The row's prompt is also that of a record to evaluate."),
    Code("THK-DATA-091", "leak-normalised", "warn", "Case, punctuation and spacing apart, a record to evaluate."),
    Code("THK-DATA-092", "leak-near", "warn", "The row is nearly a record to evaluate."),
    Code("THK-DATA-093", "shared-document", "warn", "A document of the row's prompt is also one of the evaluation's."),
    # 100-109: checks that a project brings along
    Code("THK-DATA-100", "custom-row", "error", "A check of the project's refuses the row."),
    Code("THK-DATA-101", "custom-set", "error", "A check of the project's refuses the dataset as a whole."),
)

CODES: Final[Mapping[str, Code]] = {entry.code: entry for entry in _TABLE}
# Rules by which the first pass refuses rows: codes 010 to 039.
SCHEMA_RULES: Final = tuple(entry.slug for entry in _TABLE if "010" <= entry.code[-3:] <= "039")
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
