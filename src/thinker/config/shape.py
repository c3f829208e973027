"""Plain data checked against the configuration models; what does not fit, in a reader's words and with its place."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from thinker.config import model_types as types
from thinker.config.pipeline_models import PipelineConfig, SchemaField
from thinker.config.problems import KeyPath, Problem, show_key_path
from thinker.config.recipe_models import Recipe
from thinker.config.source import ConfigSource, FileKind
from thinker.config.yaml_source import parse_yaml
from thinker.secrets import looks_secret

Model = TypeVar("Model")

_FILES: Final[dict[FileKind, tuple[type, str]]] = {
    "pipeline": (PipelineConfig, "the pipeline file"),
    "lora": (Recipe, "the LoRA file"),
}
_BOUNDS: Final = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
_YES_AND_NO: Final = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
_LONGEST_EXCERPT: Final = 60


def fit(model: type[Model], data: dict[str, Any], source: ConfigSource) -> tuple[Model | None, list[Problem]]:
    """The model that `data` fits, or why it fits none. `source` gives places and the values as written.

    Data pass through JSON, because there a strict model takes lists for tuples, mappings for sections and text for
    paths, and still no quoted number.
    """
    try:
        return TypeAdapter(model).validate_json(json.dumps(data)), []
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=True)
    by_path: dict[KeyPath, list[ErrorDetails]] = {}
    for detail in details:
        by_path.setdefault(_key_path(model, detail["loc"]), []).append(detail)
    known = {problem.key_path for problem in source.problems}
    return None, [
        _problem(model, path, found, source)
        for path, found in by_path.items()
        if not (path in known and source.get(*path) is None) and not _said_better_below(path, by_path)
    ]


def is_secret_path(path: KeyPath) -> bool:
    """Whether the value at `path` must never be shown."""
    return any(isinstance(step, str) and looks_secret(step) for step in path)


def show_value(value: Any, path: KeyPath = ()) -> str:
    """`value` in the words of YAML, shortened; hidden where its key is that of a secret."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "keys and values"
    if is_secret_path(path):
        return "a value (hidden)"
    text = str(value)
    excerpt = text if len(text) <= _LONGEST_EXCERPT else text[:_LONGEST_EXCERPT] + "…"
    return f"text '{excerpt}'" if isinstance(value, str) else f"the number {excerpt}"


def suggestion(word: str, known: Iterable[str]) -> str:
    """`, did you mean 'max_samples'?`, or nothing where nothing known is near."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower().replace("-", "_"), by_lower, n=1)
    return f", did you mean '{by_lower[near[0]]}'?" if near else ""


def _key_path(model: type, location: tuple[int | str, ...]) -> KeyPath:
    """`location` without the names that pydantic puts in it for the members of a union."""
    path: list[str | int] = []
    annotation: Any = model
    steps = iter(location)
    for step in steps:
        if len(types.members(annotation)) > 1:
            following = next(steps, None)
            if following is None:
                break
            step = following
        path.append(step)
        annotation = types.child_type(annotation, step)
    return tuple(path)


def _said_better_below(path: KeyPath, by_path: dict[KeyPath, list[ErrorDetails]]) -> bool:
    """Whether an error inside the value says more than "the value is none of these types"."""
    return any(len(other) > len(path) and other[: len(path)] == path for other in by_path)


def _problem(model: type, path: KeyPath, details: list[ErrorDetails], source: ConfigSource) -> Problem:
    detail = details[0]
    if detail["type"] == "missing":
        return Problem(source.key_place(path[:-1]), "required, but missing", path)
    if detail["type"] == "unexpected_keyword_argument":
        return Problem(source.key_place(path), _unknown_key(model, path, source.kind), path)
    value = source.get(*path)
    got = show_value(value, path)
    if len(details) == 1 and (message := _beyond_type(model, path, detail)):
        return source.problem(path, f"{message}, got {got}")
    annotation = types.type_at(model, path)
    near = suggestion(value, types.choices(annotation)) if isinstance(value, str) else ""
    hint = "" if near or is_secret_path(path) else _hint(model, path, annotation, value)
    return source.problem(path, f"expected {types.describe(annotation)}, got {got}{near}{hint}")


def _beyond_type(model: type, path: KeyPath, detail: ErrorDetails) -> str | None:
    """What a value of the right type lacks; None where the type is the problem."""
    kind = detail["type"]
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"must be {words} {_number(detail['ctx'][key])}"
    if kind == "finite_number":
        return "must be finite"
    if kind == "string_pattern_mismatch":
        section = types.section_of(types.type_at(model, path[:-1]))
        description = types.fields_of(section)[str(path[-1])].description if section else None
        return f"expected {(description or detail['ctx']['pattern']).rstrip('.')}"
    return None


def _unknown_key(model: type, path: KeyPath, kind: FileKind) -> str:
    key = str(path[-1])
    section = types.section_of(types.type_at(model, path[:-1]))
    valid = tuple(types.fields_of(section)) if section else ()
    near = suggestion(key, valid)
    homes = _homes(key, kind, path[:-1])
    if homes:
        return f"unknown key; '{key}' belongs {' or '.join(homes)}{near.replace(', did', '. Did')}"
    return f"unknown key{near}" if near else f"unknown key (known here: {', '.join(valid)})"


def _homes(key: str, kind: FileKind, here: KeyPath) -> list[str]:
    """Where a key of this name does exist."""
    found: list[str] = []
    if kind == "fields":  # has nothing to do with the two files
        return found
    for file_kind, (root, name) in _FILES.items():
        in_file = "" if file_kind == kind else f" of {name}"
        for path, section in types.sections(root):
            if key in types.fields_of(section) and (file_kind, path) != (kind, here):
                found.append(f"in '{show_key_path(path)}'{in_file}" if path else f"at the top{in_file or ' level'}")
    if key in types.fields_of(SchemaField) and "schema" not in here:
        found.append("in 'data_validation.schema[]'" + ("" if kind == "pipeline" else " of the pipeline file"))
    return found


def _hint(model: type, path: KeyPath, annotation: Any, value: Any) -> str:
    parts = types.members(annotation)
    if value is None:
        return _default_hint(model, path)
    if isinstance(value, str):
        return _text_hint(parts, value)
    if str in parts and isinstance(value, bool | int | float):
        return " (put it in quotes)"
    if int in parts and isinstance(value, float) and value.is_integer():
        return f" (write {int(value)})"
    return ""


def _text_hint(parts: tuple[Any, ...], value: str) -> str:
    if not parts or str in parts:
        return ""
    meant = parse_yaml(value, "").value
    if (isinstance(meant, bool) and bool in parts) or (_is_number(meant) and {int, float} & set(parts)):
        return " (remove the quotes)"
    if _is_number(meant := parse_yaml(value.replace("_", ""), "").value) and {int, float} & set(parts):
        return f" (write {meant})"
    if bool in parts and value.lower() in _YES_AND_NO:
        return f" (write {_YES_AND_NO[value.lower()]})"
    if any(types.child_type(part, 0) is str for part in parts):
        return f" (write a list: ['{value}'])"
    return ""


def _number(value: float) -> str:
    return str(int(value) if float(value).is_integer() else value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _default_hint(model: type, path: KeyPath) -> str:
    section = types.section_of(types.type_at(model, path[:-1])) if path else None
    info = types.fields_of(section).get(str(path[-1])) if section else None
    if info is None or info.is_required():
        return ""
    shown = "" if info.default in (PydanticUndefined, None) else f", {json.dumps(info.default, default=str)}"
    return f" (leave the key out for its default{shown})"
