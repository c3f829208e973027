"""`--set` expressions: values given on the command line in place of those in the files.

`training.learning_rate=1e-4` is a key of the LoRA file; `pipeline.evaluation.max_samples=5` one of the pipeline file
(both have a section `training`). The value is YAML; nothing after the `=` is null. A number selects an item of a list.
A relative path in a value starts from the current folder, as every path on a command line does.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Any, Final

from thinker.config.model_types import fields_of
from thinker.config.pipeline_models import PipelineConfig
from thinker.config.problems import Place, Problem, show_key_path
from thinker.config.recipe_models import Recipe
from thinker.config.source import ConfigSource, FileKind
from thinker.config.yaml_source import parse_yaml
from thinker.secrets import MASK, looks_secret, mask

_WORD: Final = re.compile(r"\w+")
_VARIABLE: Final = re.compile(r"\$\{\w+\}")


@dataclass(frozen=True)
class Override:
    """One value to put in place.

    Attributes:
        kind: the file it changes.
        steps: the keys that lead to it, from the file's top.
        value: plain data.
        label: how messages call it, without secrets.
        shown: the expression for the record, without secrets.
    """

    kind: FileKind
    steps: tuple[str, ...]
    value: Any
    label: str
    shown: str


class _DeadEndError(Exception):
    """An override leads nowhere; the message says why. Never leaves this module."""


def parse_override(expression: str) -> Override | Problem:
    """Read one `--set` expression."""
    dotted, equals, text = expression.partition("=")
    shown = f"{dotted}{equals}{_shown_value(dotted, text)}"
    label = f"--set {shown}"
    steps = tuple(dotted.strip().split("."))
    kind: FileKind = "pipeline" if steps[0] == "pipeline" else "lora"
    steps = steps[1:] if kind == "pipeline" else steps
    if not equals or not steps or "" in steps:
        return Problem(Place(label), "write KEY=VALUE, for example training.learning_rate=1e-4")
    if kind == "lora" and steps[0] in fields_of(PipelineConfig) and steps[0] not in fields_of(Recipe):
        return Problem(Place(label), f"a key of the pipeline file: write pipeline.{dotted.strip()}")
    parsed = parse_yaml(text, label)
    if parsed.problems:
        return Problem(Place(label), parsed.problems[0].message)
    return Override(kind, steps, parsed.value, label, shown)


def option_override(option: str, kind: FileKind, steps: tuple[str, ...], value: str) -> Override:
    """The override that a command-line option such as `--backend NAME` stands for."""
    prefix = "pipeline." if kind == "pipeline" else ""
    return Override(kind, steps, value, f"{option} {value}", f"{prefix}{'.'.join(steps)}={value}")


def apply_override(override: Override, source: ConfigSource) -> Problem | None:
    """Change `source`, making sections that are not there."""
    path: list[str | int] = []
    try:
        source.data = _with_value(source.data, override.steps, override.value, path)
    except _DeadEndError as error:
        return Problem(Place(override.label), str(error))
    source.mark_override(tuple(path), override.label)
    return None


def _with_value(current: Any, steps: tuple[str, ...], value: Any, path: list[str | int]) -> Any:
    """`current` with `value` at `steps`; appends to `path` the keys and indexes passed."""
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if current is None:
        current = [] if step == "0" else {}
    if isinstance(current, dict):
        path.append(step)
        current[step] = _with_value(current.get(step), rest, value, path)
    elif isinstance(current, list):
        index = int(step) if step.isdecimal() else -1
        if not 0 <= index <= len(current):
            raise _DeadEndError(f"{_where(path)} is a list of {len(current)}; '{step}' is no index of it")
        path.append(index)
        if index == len(current):
            current.append(None)
        current[index] = _with_value(current[index], rest, value, path)
    else:
        raise _DeadEndError(f"{_where(path)} is a single value and has no key '{step}'")
    return current


def _where(path: list[str | int]) -> str:
    return f"'{show_key_path(tuple(path))}'"


def _shown_value(dotted: str, text: str) -> str:
    """`text`, or a mask if it may hold a secret: it is shown before it is understood."""
    if _VARIABLE.fullmatch(text.strip()):
        return text
    keys = dotted.strip().split(".")
    misspelt = difflib.get_close_matches("hf_token", map(str.lower, keys), cutoff=0.8)
    if misspelt or any(map(looks_secret, keys)) or any(looks_secret(word) for word in _WORD.findall(text)):
        return MASK
    return mask(text)
