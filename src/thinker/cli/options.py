"""Options that every command takes, before the subcommand or after it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

DEFAULT_CONFIG = Path("pipeline.yaml")


@dataclass(frozen=True)
class CommonOptions:
    """What was said before and after the subcommand, taken together.

    Attributes:
        config: the pipeline file.
        overrides: `--set` expressions in order.
        verbosity: 1 for `-v`, -1 for `-q`, else 0.
        as_json: one JSON object on standard output, everything else on standard error.
        debug: tracebacks.
        argv: the command line without the program's name.
    """

    config: Path
    overrides: tuple[str, ...]
    verbosity: int
    as_json: bool
    debug: bool
    argv: tuple[str, ...] = ()


_OPTIONS: tuple[Callable[..., Any], ...] = (
    click.option("--config", type=click.Path(path_type=Path), metavar="FILE",
                 help="Pipeline file.  [default: pipeline.yaml]"),
    click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE",
                 help="Override a key of the LoRA file (training.learning_rate=1e-4) or, after 'pipeline.', of the "
                      "pipeline file (pipeline.evaluation.max_samples=5). Repeatable."),
    click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, everything else on stderr."),
    click.option("-v", "--verbose", is_flag=True, help="Say more."),
    click.option("-q", "--quiet", is_flag=True, help="Say only what went wrong."),
    click.option("--debug", is_flag=True, help="Show tracebacks."),
)  # fmt: skip


def accept(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a group, which keeps them for the subcommand."""

    @functools.wraps(function)
    def remember(*args: Any, **kwargs: Any) -> Any:
        context = click.get_current_context()
        context.obj = {"argv": (), **(context.obj or {}), **{name: kwargs.pop(name) for name in _NAMES}}
        return function(*args, **kwargs)

    return _decorate(remember)


def common(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a subcommand, which gets them as its first argument, merged with the group's."""

    @functools.wraps(function)
    def merged(*args: Any, **kwargs: Any) -> Any:
        before: dict[str, Any] = click.get_current_context().find_object(dict) or {}
        after = {name: kwargs.pop(name) for name in _NAMES}
        options = CommonOptions(
            config=after["config"] or before["config"] or DEFAULT_CONFIG,
            overrides=(*(before["overrides"] or ()), *after["overrides"]),
            verbosity=_verbosity(before, after),
            as_json=bool(before["as_json"] or after["as_json"]),
            debug=bool(before["debug"] or after["debug"]),
            argv=before["argv"],
        )
        return function(options, *args, **kwargs)

    return _decorate(merged)


_NAMES = ("config", "overrides", "as_json", "verbose", "quiet", "debug")


def _verbosity(before: dict[str, Any], after: dict[str, Any]) -> int:
    verbose, quiet = before["verbose"] or after["verbose"], before["quiet"] or after["quiet"]
    if verbose and quiet:
        raise click.UsageError("--verbose and --quiet exclude each other")
    return 1 if verbose else -1 if quiet else 0


def _decorate(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
