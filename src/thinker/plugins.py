"""One registry for everything that plugs in.

A name resolves, in this order, to a built-in, to a `module:attribute` reference, or to an entry point of the group
`thinker.<group>`. Nothing is imported before it is asked for, so a gate without torch stays without torch.

Example:
    >>> callable(resolve("tasks", "prompt_completion"))
    True
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import inspect
import sys
from pathlib import Path
from typing import Any, Final, Literal

from thinker.errors import ConfigError
from thinker.hashing import sha256_file

Group = Literal["tasks", "checks", "validators", "backends", "generators", "metrics", "trackers"]

_BUILTIN: Final[dict[str, dict[str, str]]] = {
    "tasks": {
        "scifact_claims": "thinker.tasks.scifact_claims:ScifactClaims",
        "prompt_completion": "thinker.tasks.prompt_completion:PromptCompletion",
    },
    "backends": {"hf_peft": "thinker.training.hf_peft:create_backend"},
    "generators": {"hf_peft": "thinker.evaluation.local:create_generator"},
    "checks": {},
    "validators": {
        name: f"thinker.validation.validators:{name}"
        for name in ("clean_text", "iso_date", "json_text", "language_tag", "url")
    },
    "metrics": {},
    "trackers": {},
}


def names(group: Group) -> tuple[str, ...]:
    """All names of `group` that resolve, sorted: built-ins and installed entry points."""
    return tuple(sorted({*_BUILTIN[group], *(point.name for point in _entry_points(group))}))


def resolve(group: Group, name: str) -> Any:
    """The object registered under `name` in `group`.

    Raises:
        ConfigError: no such name (with the nearest one suggested), or the reference cannot be imported.
    """
    if reference := _BUILTIN[group].get(name):
        return _load(group, name, reference)
    if ":" in name:
        return _load(group, name, name)
    for point in _entry_points(group):
        if point.name == name:
            return _load(group, name, point.value)
    raise ConfigError(unknown_name(group, name))


def is_known(group: Group, name: str) -> bool:
    """Whether `name` could be resolved, without importing it."""
    return ":" in name or name in names(group)


def import_from(folder: Path) -> None:
    """Find plugins (`module:attribute`) in `folder` too, after everything that is installed."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def source_sha256(plugin: Any) -> str | None:
    """SHA-256 of the source file that defines `plugin`; None where there is none (built in C, typed in a shell)."""
    try:
        source = inspect.getsourcefile(plugin)
    except TypeError:
        source = inspect.getsourcefile(type(plugin))
    return sha256_file(Path(source)) if source and Path(source).is_file() else None


def unknown_name(group: Group, name: str) -> str:
    """The message for a name that is not registered."""
    known = names(group)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f", did you mean '{near[0]}'?" if near else ""
    return (
        f"unknown {group.removesuffix('s')} '{name}'{hint} (known: {', '.join(known) or 'none'}; or 'module:attribute')"
    )


def _entry_points(group: Group) -> tuple[importlib.metadata.EntryPoint, ...]:
    return tuple(importlib.metadata.entry_points(group=f"thinker.{group}"))


def _load(group: Group, name: str, reference: str) -> Any:
    module_name, _, attribute = reference.partition(":")
    try:
        target: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            target = getattr(target, part)
    except Exception as error:  # whatever a module of the user's raises while it is imported
        reason = str(error) if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
        raise ConfigError(f"{group.removesuffix('s')} '{name}': cannot load {reference}: {reason}") from error
    if not callable(target):
        raise ConfigError(f"{group.removesuffix('s')} '{name}': {reference} cannot be called")
    return target
