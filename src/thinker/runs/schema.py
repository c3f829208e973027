"""The JSON Schema of the run record. `python -m thinker.runs.schema` writes the shipped file anew."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Any, Final

from thinker.runs.files import render_json
from thinker.runs.models import RunRecord

SCHEMA_FILE: Final = "record.schema.json"


def record_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a written record, in which every key is there."""
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, **RunRecord.model_json_schema(mode="serialization")}


def record_schema_text() -> str:
    """The schema as the shipped file holds it."""
    return render_json(record_schema()) + "\n"


def shipped_record_schema() -> str:
    """The shipped file's text."""
    return importlib.resources.files("thinker.runs").joinpath(SCHEMA_FILE).read_text(encoding="utf-8")


if __name__ == "__main__":
    Path(__file__).with_name(SCHEMA_FILE).write_text(record_schema_text(), encoding="utf-8", newline="\n")
