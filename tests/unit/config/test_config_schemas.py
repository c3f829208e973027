from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from config_project import LORA, PIPELINE

from thinker.config import PipelineConfig, Recipe, SchemaField
from thinker.config import model_types as types
from thinker.config.json_schema import lora_schema, pipeline_schema, schema_text, shipped_schema
from thinker.config.reference import markdown_table
from thinker.config.yaml_source import parse_yaml
from thinker.errors import ConfigError

REPOSITORY = Path(__file__).parents[3]
SPEC_EXAMPLES = Path(__file__).parent / "spec_examples"


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads(shipped_schema(name))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize(("name", "generate"), [("pipeline", pipeline_schema), ("lora", lora_schema)])
def test_the_shipped_schemas_are_those_of_the_models(name: str, generate: Any) -> None:
    assert shipped_schema(name) == schema_text(generate()), "run: python -m thinker.config.json_schema"


@pytest.mark.parametrize(("name", "example"), [("pipeline", "pipeline.yaml"), ("lora", "lora_config.yaml")])
def test_the_examples_of_the_specification_fit_the_schemas(name: str, example: str) -> None:
    text = (SPEC_EXAMPLES / example).read_text(encoding="utf-8")
    validator(name).validate(parse_yaml(text, example).value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pipeline", PIPELINE + "zzz: 1\n"),
        ("pipeline", PIPELINE + "  top_p: 2\n"),
        ("pipeline", PIPELINE + "  seed: '1'\n"),
        ("lora", LORA + "  report_to: 5\n"),
        ("lora", LORA.replace("2e-4", "0")),
        ("lora", "lora: {}\n"),
    ],
)
def test_what_the_loader_refuses_the_schemas_refuse(name: str, text: str) -> None:
    assert not validator(name).is_valid(parse_yaml(text, name).value)


def test_the_small_experiment_of_these_tests_fits_the_schemas() -> None:
    validator("pipeline").validate(parse_yaml(PIPELINE, "p").value)
    validator("lora").validate(parse_yaml(LORA, "l").value)


def test_an_unknown_schema_is_told() -> None:
    with pytest.raises(ConfigError, match="unknown schema 'recipe'"):
        shipped_schema("recipe")


def test_the_page_of_keys_is_that_of_the_models() -> None:
    page = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == markdown_table(), "run: python -m thinker.config.reference"


@pytest.mark.parametrize("model", [PipelineConfig, Recipe, SchemaField])
def test_every_key_has_a_meaning_and_its_row(model: type) -> None:
    table = markdown_table()
    for path, section in types.sections(model) if model is not SchemaField else [((), SchemaField)]:
        for name, info in types.fields_of(section).items():
            assert info.description, f"{section.__name__}.{name} has no docstring"
            if types.section_of(info.annotation) is None or model is SchemaField:
                assert f"| `{'.'.join([*map(str, path), name])}` |" in table


def test_the_page_is_written_where_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import runpy

    monkeypatch.setattr(sys, "argv", ["reference", str(tmp_path / "page.md")])
    monkeypatch.delitem(sys.modules, "thinker.config.reference")
    runpy.run_module("thinker.config.reference", run_name="__main__")
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == markdown_table()
