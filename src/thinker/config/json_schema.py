"""JSON Schemas of the configuration files, generated from the models.

`python -m thinker.config.json_schema` writes those that the package ships. An editor that knows them completes keys
and marks errors while one types.
"""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from thinker.config.pipeline_models import PipelineConfig
from thinker.config.recipe_models import Recipe
from thinker.errors import ConfigError

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_SHIPPED: Final = {
    "pipeline": ("thinker.config", "schemas/pipeline.schema.json"),
    "lora": ("thinker.config", "schemas/lora.schema.json"),
    "record": ("thinker.runs", "record.schema.json"),
}


def pipeline_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the pipeline file."""
    return _schema(PipelineConfig, "Thinker pipeline file")


def lora_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the LoRA file."""
    return _schema(Recipe, "Thinker LoRA file")


def shipped_schema(name: str) -> str:
    """The text of a schema that comes with the package: `pipeline`, `lora` or `record`.

    Raises:
        ConfigError: no such schema.
    """
    if name not in _SHIPPED:
        raise ConfigError(f"unknown schema '{name}' (known: {', '.join(_SHIPPED)})")
    package, file = _SHIPPED[name]
    return importlib.resources.files(package).joinpath(file).read_text(encoding="utf-8")


def schema_text(schema: dict[str, Any]) -> str:
    """A schema as its file holds it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _schema(model: type, title: str) -> dict[str, Any]:
    schema = _portable(TypeAdapter(model).json_schema())
    return {"$schema": _DIALECT, **schema, "title": title}


def _portable(node: Any) -> Any:
    """The same schema on every platform: a default path in posix form."""
    if isinstance(node, list):
        return [_portable(item) for item in node]
    if not isinstance(node, dict):
        return node
    changed = {key: _portable(item) for key, item in node.items()}
    if node.get("format") == "path" and isinstance(node.get("default"), str):
        changed["default"] = node["default"].replace("\\", "/")
    return changed


def _write_shipped() -> None:
    generators: dict[str, Callable[[], dict[str, Any]]] = {"pipeline": pipeline_schema, "lora": lora_schema}
    for name, generate in generators.items():
        path = Path(__file__).parent / _SHIPPED[name][1]
        path.parent.mkdir(exist_ok=True)
        path.write_text(schema_text(generate()), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    _write_shipped()
