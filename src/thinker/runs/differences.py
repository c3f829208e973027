"""What a record says beside what is found now: differences with both values, and how to tell them in a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from thinker.hashing import canonical_json
from thinker.runs.files import clean

Kind = Literal[
    "file", "dataset", "setting", "seed", "base_model", "adapter", "version", "hardware", "source", "digest",  # inputs
    "gate", "count", "plan", "step", "tensor", "prediction", "metric",  # results
]  # fmt: skip

_ABSENT: Final[dict[Kind, str]] = {
    "setting": "null", "version": "not installed", "file": "no file", "dataset": "no file", "source": "no file",
    "base_model": "no file", "adapter": "no adapter",
}  # fmt: skip
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_HASH_PREFIX: Final = 12
_LONGEST_SHOWN: Final = 60


class Fact(NamedTuple):
    """One thing that a record says. Two facts of one name say the same thing twice."""

    kind: Kind
    name: str
    value: Any


@dataclass(frozen=True)
class Difference:
    """One thing that is not as recorded.

    Attributes:
        kind: what sort of thing it is.
        name: which one: a key of the configuration, a file, a package, a step, a tensor.
        recorded: as JSON; None where the record has nothing.
        here: as JSON; None where there is nothing now.
        detail: what the two values do not say.
    """

    kind: Kind
    name: str
    recorded: Any
    here: Any
    detail: str = ""

    def __str__(self) -> str:
        recorded, here = (shown(value, _ABSENT.get(self.kind, "nothing")) for value in (self.recorded, self.here))
        values = f"{self.name}: recorded {recorded}, here {here}"
        return f"{values} ({self.detail})" if self.detail else values

    def as_json(self) -> dict[str, Any]:
        """Plain data, hashes at full length."""
        fields = {"kind": self.kind, "name": self.name, "recorded": self.recorded, "here": self.here}
        return {**fields, "detail": self.detail or None, "message": str(self)}


def shown(value: Any, absent: str = "nothing") -> str:
    """A value as a line of text has it: hashes and long texts cut short, None as the word for what is not there."""
    if value is None:
        return absent
    if isinstance(value, str) and _HASH.fullmatch(value):
        return f"{value[:_HASH_PREFIX]}…"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects as one, keys joined by dots; a list is a value."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flattened(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal as JSON: 1.0 is 1, a tuple a list."""
    return canonical_json(clean(one)) == canonical_json(clean(other))


def differing(recorded: Iterable[Fact], here: Mapping[str, Any]) -> list[Difference]:
    """The facts that are not so here, each once; what `here` knows nothing of is not compared.

    Args:
        recorded: what the record says.
        here: the same names with the values of now.
    """
    return each_once(
        Difference(kind, name, clean(value), clean(here[name]))
        for kind, name, value in recorded
        if name in here and not same(value, here[name])
    )


def differing_keys(kind: Kind, recorded: Mapping[str, Any], here: Mapping[str, Any]) -> list[Difference]:
    """The names whose values are not the same in both; null counts as absent."""
    names = [*recorded, *(name for name in here if name not in recorded)]
    return [
        Difference(kind, name, clean(recorded.get(name)), clean(here.get(name)))
        for name in names
        if not same(recorded.get(name), here.get(name))
    ]


def each_once(differences: Iterable[Difference]) -> list[Difference]:
    """Without those that say again of a name what one before them said."""
    found: dict[tuple[str, bytes], Difference] = {}
    for each in differences:
        found.setdefault((each.name, canonical_json([each.recorded, each.here])), each)
    return list(found.values())
