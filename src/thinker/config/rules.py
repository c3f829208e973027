"""What the types of single keys cannot say: rules between keys, on data that may still be of the wrong type.

They look at the data as written, so that one reading of a file tells all that is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, Literal

from thinker import plugins
from thinker.config.json_schema_file import SUFFIX
from thinker.config.problems import KeyPath, Problem, show_key_path
from thinker.config.source import ConfigSource
from thinker.errors import ConfigError

Command = Literal["validate", "train", "eval", "run"]

_SECTIONS: Final[dict[str, tuple[tuple[Command, ...], str]]] = {
    "tests": (
        ("validate", "train", "eval", "run"),
        "name the pytest suite that must pass (tests: {path: FOLDER}), or go without one (tests: {enabled: false})",
    ),
    "data_validation": (
        ("validate", "train", "eval", "run"),
        "name the dataset to check (data_validation: {path: FILE})",
    ),
    "training": (("train", "run"), "it names the LoRA file (training: {config_path: FILE})"),
    "evaluation": (("eval", "run"), "it names what to evaluate (evaluation: {base_model: …, checkpoint_dir: …})"),
}
_FOR_TYPES: Final = {
    "pattern": ("string",),
    "min": ("integer", "number"),
    "max": ("integer", "number"),
    "min_length": ("string", "array", "object"),
    "max_length": ("string", "array", "object"),
    "items": ("array",),
    "fields": ("object",),
}


def pipeline_rules(source: ConfigSource, command: Command) -> Iterator[Problem]:
    """What is wrong with the pipeline file beyond its shape."""
    yield from _missing_sections(source, command)
    tests = source.get("tests")
    if isinstance(tests, dict) and tests.get("enabled", True) is True and tests.get("path") is None:
        message = "required, but missing; to go without a test suite, set 'enabled: false'"
        yield Problem(source.key_place(("tests",)), message, ("tests", "path"))
    if source.has("data_validation", "schema"):
        yield from _schema_file(source, ("data_validation", "schema"))
        yield from schema_rules(source, ("data_validation", "schema"))
    yield from _custom_checks(source, ("data_validation", "custom_checks"))
    yield from _known_plugin(source, ("task",), "tasks")
    yield from _known_plugin(source, ("training", "backend"), "backends")
    yield from _known_plugin(source, ("evaluation", "backend"), "generators")
    if command in ("eval", "run") and isinstance(source.get("evaluation"), dict):
        yield from _task_inputs(source)


def _missing_sections(source: ConfigSource, command: Command) -> Iterator[Problem]:
    for name, (commands, advice) in _SECTIONS.items():
        if command in commands and source.get(name) is None:
            state = "empty" if source.has(name) else "missing"
            who = "every command needs it" if len(commands) > 2 else f"`thinker {command}` needs it"
            yield Problem(source.key_place((name,)), f"{state} section; {who}: {advice}", (name,))


def _known_plugin(source: ConfigSource, path: KeyPath, group: plugins.Group) -> Iterator[Problem]:
    name = source.get(*path)
    if isinstance(name, str) and not plugins.is_known(group, name):
        yield source.problem(path, plugins.unknown_name(group, name))


def _custom_checks(source: ConfigSource, path: KeyPath) -> Iterator[Problem]:
    names = source.get(*path)
    for index, name in enumerate(names if isinstance(names, list) else ()):
        if name in names[:index]:
            yield source.problem((*path, index), f"'{name}' is named twice")
        else:
            yield from _known_plugin(source, (*path, index), "checks")


def _task_inputs(source: ConfigSource) -> Iterator[Problem]:
    name = source.get("task") if source.has("task") else "scifact_claims"
    if not isinstance(name, str) or not plugins.is_known("tasks", name):
        return
    try:
        required = plugins.resolve("tasks", name)().required_inputs
    except ConfigError as error:
        yield source.problem(("task",), str(error))
        return
    for key in required:
        if source.get("evaluation", key) is None:
            message = f"required by the task '{name}', but missing"
            yield Problem(source.key_place(("evaluation", key)), message, ("evaluation", key))


def _schema_file(source: ConfigSource, path: KeyPath) -> Iterator[Problem]:
    named = source.get(*path)
    if isinstance(named, str) and not named.endswith(SUFFIX):
        yield source.problem(path, f"expected a list of fields, or the path of a JSON Schema ({SUFFIX}), got '{named}'")


def schema_rules(source: ConfigSource, path: KeyPath) -> Iterator[Problem]:
    """The rules for a list of schema fields at `path`, and for the fields within."""
    fields = source.get(*path)
    if fields == []:
        what = "name at least one field" if path == () else "leave the key out to check nothing but what the task asks"
        yield source.problem(path, f"is empty; {what}")
    if not isinstance(fields, list):
        return
    first: dict[str, int] = {}
    for index, item in enumerate(fields):
        if not isinstance(item, dict):
            continue
        name = item.get("name")
        if isinstance(name, str) and first.setdefault(name, index) != index:
            earlier = show_key_path((*path, first[name]))
            yield source.problem((*path, index, "name"), f"'{name}' is already the name of {earlier}")
        yield from _field_rules(source, (*path, index), item)


def _field_rules(source: ConfigSource, path: KeyPath, item: dict[str, Any]) -> Iterator[Problem]:
    if item.get("name") == "":
        yield source.problem((*path, "name"), "is empty")
    types = _types(item)
    if types == ():
        yield source.problem((*path, "type"), "is empty; name at least one type")
    elif types and "any" not in types:
        yield from _rules_for_types(source, path, item, types)
    yield from _order(source, path, item, "min", "max")
    yield from _order(source, path, item, "min_length", "max_length")
    yield from regular_expression(source, (*path, "pattern"))
    yield from _known_plugin(source, (*path, "validator"), "validators")
    if item.get("enum") == []:
        yield source.problem((*path, "enum"), "is empty: no value would pass")
    if isinstance(items := item.get("items"), dict):
        if items.get("unique") is True:
            yield source.problem((*path, "items", "unique"), "compares rows; it has no meaning for the items of a list")
        yield from _field_rules(source, (*path, "items"), items)
    if item.get("fields") is not None:
        yield from schema_rules(source, (*path, "fields"))


def _types(item: dict[str, Any]) -> tuple[Any, ...] | None:
    """The types a field allows; None where the file says nothing sensible."""
    named = item.get("type", "any")
    if isinstance(named, list):
        return tuple(named)
    return (named,) if isinstance(named, str) else None


def _rules_for_types(
    source: ConfigSource, path: KeyPath, item: dict[str, Any], types: tuple[Any, ...]
) -> Iterator[Problem]:
    said = " or ".join(str(name) for name in types)
    for rule, fitting in _FOR_TYPES.items():
        if item.get(rule) is not None and not set(fitting) & set(types):
            yield Problem(
                source.key_place((*path, rule)),
                f"applies to {' and '.join(fitting)}, but the field's type is {said}",
                (*path, rule),
            )
    values = item.get("enum")
    for index, value in enumerate(values if isinstance(values, list) else ()):
        if not isinstance(value, list | dict) and not _json_types(value) & set(types):
            yield source.problem((*path, "enum", index), f"is no value of type {said}")


def _json_types(value: Any) -> set[str]:
    if value is None:
        return {"null"}
    if isinstance(value, bool):
        return {"boolean"}
    if isinstance(value, str):
        return {"string"}
    return {"number", "integer"} if float(value).is_integer() else {"number"}


def _order(source: ConfigSource, path: KeyPath, item: dict[str, Any], low: str, high: str) -> Iterator[Problem]:
    least, most = item.get(low), item.get(high)
    numbers = all(isinstance(bound, int | float) and not isinstance(bound, bool) for bound in (least, most))
    if numbers and least > most:  # type: ignore[operator]
        yield source.problem((*path, high), f"{most} is less than {low}, {least}: no value would pass")


def regular_expression(source: ConfigSource, path: KeyPath) -> Iterator[Problem]:
    pattern = source.get(*path)
    if not isinstance(pattern, str):
        return
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        yield source.problem(path, f"not a regular expression: {error}")
