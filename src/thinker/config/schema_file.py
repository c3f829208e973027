"""A schema in a file of its own: a list of fields in YAML, or a JSON Schema."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final, cast

from thinker import plugins
from thinker.config.json_schema_file import SUFFIX, read_json_schema
from thinker.config.pipeline_models import RowSchema, SchemaField
from thinker.config.problems import Place, Problem, config_error
from thinker.config.rules import schema_rules
from thinker.config.shape import fit
from thinker.config.source import ConfigSource, shown_path
from thinker.config.yaml_source import read_yaml

log = logging.getLogger("thinker")

_YAML_SUFFIXES: Final = (".yaml", ".yml")


def load_schema(path: Path) -> RowSchema:
    """The schema in the file `path`: its fields (`.yaml`), or the path itself, of a JSON Schema (`.json`).

    Raises:
        ConfigError: the file cannot be used; tells all that is wrong with it, each with its place.
    """
    if path.suffix == SUFFIX:
        return _json_schema(path)
    if path.suffix in _YAML_SUFFIXES:
        plugins.import_from(path.absolute().parent)
        return _fields(path)
    wanted = f"a list of fields ({_YAML_SUFFIXES[0]}) or a JSON Schema ({SUFFIX})"
    raise config_error([Problem(Place(shown_path(path)), f"expected {wanted}, told by the suffix")])


def json_schema_problems(path: Path) -> list[Problem]:
    """What is wrong with the JSON Schema in the file `path`; parts of it that check nothing draw a warning."""
    schema, problems = read_json_schema(path)
    for warning in schema.warnings if schema else ():
        log.warning("%s", warning)
    return problems


def _json_schema(path: Path) -> Path:
    if problems := json_schema_problems(path):
        raise config_error(problems)
    return path


def _fields(path: Path) -> tuple[SchemaField, ...]:
    parsed = read_yaml(path, shown_path(path), list)
    source = ConfigSource("fields", path, shown_path(path), cast(Any, parsed.value), parsed.problems, parsed)
    if parsed.value is None:
        raise config_error(parsed.problems)
    source.problems += schema_rules(source, ())
    fields, misfits = fit(cast(Any, tuple[SchemaField, ...]), cast(Any, parsed.value), source)
    if problems := [*source.problems, *misfits]:
        raise config_error(problems)
    return cast(tuple[SchemaField, ...], fields)
