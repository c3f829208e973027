"""Questions to the types of the configuration models: which keys a section has, what a value may be, in plain words."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from thinker.config.problems import KeyPath

_WORDS: dict[Any, str] = {
    str: "text",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    Path: "a path",
    SecretStr: "text",
    type(None): "null",
}
_PLURALS: dict[Any, str] = {Path: "paths", int: "integers"}


def fields_of(section: type) -> dict[str, FieldInfo]:
    """The keys of a section, in order."""
    fields: dict[str, FieldInfo] = getattr(section, "__pydantic_fields__")  # noqa: B009 (pydantic's dataclasses)
    return fields


def members(annotation: Any) -> tuple[Any, ...]:
    """The types of which a value may be any one, null left out."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(part for arg in get_args(annotation) for part in members(arg))
    return () if annotation is type(None) else (annotation,)


def section_of(annotation: Any) -> type | None:
    """The section (a dataclass) that a value of this type may be, if any."""
    return next((part for part in members(annotation) if _is_section(part)), None)


def child_type(annotation: Any, step: str | int) -> Any:
    """The type under a key or index; None where there is none."""
    for part in members(annotation):
        if _is_section(part) and step in fields_of(part):
            return fields_of(part)[str(step)].annotation
        if get_origin(part) is dict and isinstance(step, str):
            return get_args(part)[1]
        if get_origin(part) is tuple and isinstance(step, int):
            return get_args(part)[0]
    return None


def type_at(root: type, path: KeyPath) -> Any:
    """The type at `path` below `root`; None where no key of that name exists."""
    annotation: Any = root
    for step in path:
        annotation = child_type(annotation, step)
    return annotation


def choices(annotation: Any) -> tuple[str, ...]:
    """The words that a value of this type may be, if it may be one of a few."""
    return tuple(str(word) for part in members(annotation) if get_origin(part) is Literal for word in get_args(part))


def describe(annotation: Any) -> str:
    """What a value of this type is, as a message says it: `a number`, `text or a list of text`."""
    parts = members(annotation)
    said = [_describe_one(part, beside=parts) for part in parts]
    return " or ".join((", ".join(said[:-1]), said[-1])) if len(said) > 1 else said[0]


def _describe_one(part: Any, beside: tuple[Any, ...]) -> str:
    if get_origin(part) is Literal:
        words = [f"'{word}'" for word in get_args(part)]
        return words[0] if len(words) == 1 else f"one of {', '.join(words)}"
    if get_origin(part) is tuple:
        item = get_args(part)[0]
        if section_of(item):
            return "a list of sections"
        if (word := _PLURALS.get(members(item)[0])) is not None:
            return f"a list of {word}"
        return "a list of them" if item in beside and choices(item) else f"a list of {describe(item)}"
    if get_origin(part) is dict or _is_section(part):
        return "keys and values"
    return _WORDS.get(part, getattr(part, "__name__", str(part)))


def sections(root: type) -> Iterator[tuple[KeyPath, type]]:
    """`root` and every section that a key of it names, with the key path; lists of sections are left out."""
    yield (), root
    for name, info in fields_of(root).items():
        if section := section_of(info.annotation):
            for path, below in sections(section):
                yield (name, *path), below


def _is_section(part: Any) -> TypeGuard[type]:
    return isinstance(part, type) and dataclasses.is_dataclass(part)
