"""How a run's files are written: what text may hold, how paths are spelled, and replacement in one step."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thinker.secrets import mask

_FLAT = (str, int, float, bool, type(None))


def clean_text(text: str) -> str:
    """`text` with secrets masked, and with bytes that are not UTF-8 (lone surrogates) spelled out."""
    return mask(text.encode("utf-8", "backslashreplace").decode("utf-8"))


def spell_path(path: Path) -> str:
    """`path` with forward slashes; relative to the current folder where it lies inside it."""
    with contextlib.suppress(ValueError, FileNotFoundError):  # outside, or the current folder is gone
        path = path.relative_to(Path.cwd())
    return clean_text(path.as_posix())


def clean(value: Any) -> Any:
    """`value` as plain JSON data: every text cleaned, paths spelled, NaN and infinity as null.

    Raises:
        TypeError: something in it has no form in JSON.
    """
    match value:
        case str():
            return clean_text(value)
        case Path():
            return spell_path(value)
        case float() if not math.isfinite(value):
            return None
        case bool() | int() | float() | None:
            return value
        case Mapping():
            return {clean_text(str(key)): clean(item) for key, item in value.items()}
        case list() | tuple():
            return [clean(item) for item in value]
    raise TypeError(f"a {type(value).__name__} has no form in JSON: {clean_text(repr(value))}")


def render_json(value: Any, indent: str = "") -> str:
    """JSON for people: objects on several lines, lists of plain values (row numbers, arguments) on one."""
    inner = indent + "  "
    if isinstance(value, dict) and value:
        lines = [f"{inner}{_dump(str(key))}: {render_json(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list | tuple) and not all(isinstance(item, _FLAT) for item in value):
        return "[\n" + ",\n".join(inner + render_json(item, inner) for item in value) + f"\n{indent}]"
    return _dump(value)


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
