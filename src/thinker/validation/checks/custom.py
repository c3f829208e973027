"""Checks that a project brings along: `data_validation.custom_checks`.

A check is a function of one row, or a class without constructor arguments that has `row(row)`, `finish()` or both. It
is given each row that has no errors of its own, once and in file order, as its own copy. `row` tells what is wrong with
the row (THK-DATA-100); `finish`, called after the last row, what is wrong with the dataset as a whole (THK-DATA-101).
How they tell it is described in `thinker.validation.plugin_calls`; a tuple `(field, text)` names the field concerned.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from thinker.validation.plugin_calls import PluginCall, PluginError, new_plugin
from thinker.validation.preflight import CheckedRow, Found

_STEP: Final = re.compile(r"\[(\d+)\]|\.?([^.\[\]]+)")


class CustomCheck:
    """One check of the project's own, as a `thinker.validation.preflight.Check`.

    Args:
        name: as the configuration has it.

    Raises:
        ConfigError: no such plugin, or it is no check.
    """

    rules: tuple[str, ...] = ("custom-row", "custom-set")

    def __init__(self, name: str) -> None:
        self._name = name
        plugin = new_plugin("checks", name)
        what = f"check '{name}'"
        row = plugin if callable(plugin) else getattr(plugin, "row", None)
        finish = getattr(plugin, "finish", None)
        if not callable(row) and not callable(finish):
            raise PluginError(what, "is neither a function of a row nor a class with `row(row)` or `finish()`")
        self._row = PluginCall(what, row) if callable(row) else None
        self._finish = PluginCall(what, finish) if callable(finish) else None

    def rows(self, batch: Sequence[CheckedRow]) -> Iterator[Found]:
        """What the check says of each row.

        Raises:
            PluginError: it failed; names file and line.
        """
        if self._row is None:
            return
        for row in batch:
            try:
                told = self._row.placed_texts(row.value)
            except PluginError as error:
                raise error.at(file=row.file, line=row.line) from error.__cause__
            for field, text in told:
                yield Found("custom-row", f"{self._name}: {text}", row, field, _value_at(row.value, field))

    def finish(self) -> Iterator[Found]:
        """What the check says of the dataset.

        Raises:
            PluginError: it failed.
        """
        for field, text in self._finish.placed_texts() if self._finish else ():
            yield Found("custom-set", f"{self._name}: {text}", field=field)

    def statistics(self) -> Mapping[str, Any]:
        """None."""
        return {}


def custom_checks(names: Iterable[str]) -> list[CustomCheck]:
    """The checks of these names, new: they may remember rows.

    Raises:
        ConfigError: no such plugin, or it is no check.
    """
    return [CustomCheck(name) for name in names]


def _value_at(row: dict[str, Any], path: str) -> Any:
    """The value at a path such as `metadata.tags[2]`, as far as the path leads; None where it leads nowhere."""
    value: Any = row
    for index, key in _STEP.findall(path):
        if isinstance(value, list) and index and int(index) < len(value):
            value = value[int(index)]
        elif isinstance(value, dict) and key in value:
            value = value[key]
        else:
            return None
    return value if path else None
