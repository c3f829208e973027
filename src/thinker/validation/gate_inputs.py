"""All that a gate's verdict rests on, by name: what its digest covers, and what a comparison tells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, NamedTuple

from thinker.hashing import digest
from thinker.runs.files import clean

Kind = Literal["file", "setting", "version"]

NOT_SET: Final = "not set"
NOT_INSTALLED: Final = "not installed"
_LONGEST_SHOWN: Final = 48
_HASH_PREFIX: Final = 12


class Change(NamedTuple):
    """One input that is not what it was. A value of None: it was not there, or is not there any more."""

    kind: Kind
    name: str
    before: Any
    now: Any

    def __str__(self) -> str:
        if self.kind == "file":
            return _file_change(self)
        absent = NOT_SET if self.kind == "setting" else NOT_INSTALLED
        before, now = (absent if value is None else shown(value) for value in (self.before, self.now))
        if max(len(before), len(now)) > _LONGEST_SHOWN:
            return f"{self.name} changed"
        return f"{self.name} was {before}, is {now}"


class Part(NamedTuple):
    """Some of the inputs: settings by key, and hashes of files by name."""

    settings: dict[str, Any]
    files: dict[str, str | None]


@dataclass(frozen=True)
class GateInputs:
    """What one verdict rests on. Two sets with the same digest have the same verdict.

    Attributes:
        settings: dotted configuration key → value, as JSON; secrets are masked, null counts as absent.
        files: name (`thinker.validation.places`) → SHA-256, or None where there is no such file. A name that ends in
            `/` stands for the names of what lies in a folder.
        versions: program or package → version, None where it is not installed.
    """

    settings: Mapping[str, Any]
    files: Mapping[str, str | None]
    versions: Mapping[str, str | None]

    @classmethod
    def of(
        cls, settings: Mapping[str, Any], files: Mapping[str, str | None], versions: Mapping[str, str | None]
    ) -> GateInputs:
        """The inputs, sorted by name, in the form that JSON keeps."""
        kept = {name: clean(value) for name, value in sorted(settings.items()) if value is not None}
        return cls(kept, dict(sorted(files.items())), dict(sorted(versions.items())))

    @cached_property
    def digest(self) -> str:
        """The gate digest."""
        return digest({"digest": "gate", **self.as_json()})

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.settings) + len(self.files) + len(self.versions)

    def as_json(self) -> dict[str, Any]:
        """The three parts as plain data."""
        return {"settings": dict(self.settings), "files": dict(self.files), "versions": dict(self.versions)}

    def changes_since(self, before: GateInputs) -> list[Change]:
        """What differs from `before`: files first, then settings, then versions."""
        changes = []
        for kind, old, new in self._paired(before):
            for name in sorted({*old, *new}):
                if old.get(name) != new.get(name):
                    changes.append(Change(kind, name, old.get(name), new.get(name)))
        return changes

    def _paired(self, before: GateInputs) -> tuple[tuple[Kind, Mapping[str, Any], Mapping[str, Any]], ...]:
        return (
            ("file", before.files, self.files),
            ("setting", before.settings, self.settings),
            ("version", before.versions, self.versions),
        )


def shown(value: Any) -> str:
    """A setting or version as a line of text has it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def shown_hash(sha256: str | None) -> str:
    """The beginning of a hash, which is enough to tell two apart by eye."""
    return "absent" if sha256 is None else sha256[:_HASH_PREFIX]


def _file_change(change: Change) -> str:
    if change.name.endswith("/"):
        return f"{change.name} holds other files"
    if change.before is None:
        return f"{change.name} is new"
    return f"{change.name} is no longer there" if change.now is None else f"{change.name} changed"
