"""JSON Schema files: read strictly, followed nowhere else, and every fault told with its place."""

import logging
from pathlib import Path

import pytest
from config_project import Project

from thinker.config import load_pipeline_config
from thinker.config.fingerprint import config_fingerprint
from thinker.config.json_schema_file import load_json_schema, read_json_schema
from thinker.config.schema_file import load_schema
from thinker.errors import ConfigError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems(folder: Path, text: str | bytes) -> list[str]:
    (folder / "s.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    schema, found = read_json_schema(folder / "s.json")
    assert (schema is None) == bool(found)
    return [str(problem) for problem in found]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{\n  "properties": {\n    "a": {"type": "strin"}\n  }\n}',
         "s.json:3:19: properties.a.type: expected a type (array, boolean, integer, null, number, object, string) "
         "or a list of them, got 'strin', did you mean 'string'?"),
        ('{"required": "a"}', 's.json:1:14: required: no JSON Schema: "a" is not of type "array"'),
        ('{"pattern": "("}', 's.json:1:13: pattern: no JSON Schema: "(" is not a "regex"'),
        ('{"minLength":\n\t-1}', "s.json:2:2: minLength: no JSON Schema: -1 is less than the minimum of 0"),
        ('{"$schema": "https://example.com/x"}',
         "s.json:1:13: $schema: unknown draft 'https://example.com/x' (known: 4, 6, 7, 2019-09, 2020-12)"),
        ('{"properties": {"a": {"$ref": "#/$defs/x"}}}',
         "s.json:1:31: properties.a.$ref: '#/$defs/x' refers to nothing in this file"),
        ('{"$ref": "#x"}', "s.json:1:10: $ref: '#x' refers to nothing in this file"),
        ('{"a": 1,\n "b": {"a": 1, "a": 2}}', "s.json:2:21: b.a: a key that is already there"),
        ('{"a":\n}', "s.json:2:1: bad JSON: expecting value"),
        ('{"a": NaN}', "s.json: bad JSON: NaN is not a JSON number"),
        ('{"a": 1e999}', "s.json: bad JSON: the number 1e999 is too large"),
        ("", "s.json:1:1: bad JSON: expecting value"),
        ("[" * 100_000, "s.json: bad JSON: nested too deeply"),
        ("[]", "s.json:1:1: a JSON Schema is an object; put a list of fields in a YAML file"),
        ("true", "s.json:1:1: a JSON Schema is an object"),
        (b'{"\xff": 1}', "s.json: not UTF-8: byte 3: invalid start byte"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(here: Path, text: str | bytes, problem: str) -> None:
    assert problems(here, text) == [problem]


@pytest.mark.parametrize("reference", ["https://example.com/x.json", "other.json#/a", "file:///FOLDER/other.json#/a"])
def test_nothing_is_fetched(here: Path, reference: str) -> None:
    (here / "other.json").write_text('{"a": {}}')
    reference = reference.replace("/FOLDER", here.as_posix())
    assert problems(here, f'{{"$ref": "{reference}"}}') == [
        f"s.json:1:10: $ref: '{reference}' is in another document; only references within the file are followed: "
        "copy what it refers to under $defs"
    ]


@pytest.mark.parametrize(
    "schema",
    [
        '{"$ref": "#/$defs/a", "$defs": {"a": {"type": "object"}}}',
        '{"$ref": "#a", "$defs": {"x": {"$anchor": "a"}}}',
        '{"$id": "https://example.com/root", "$ref": "b.json", "$defs": {"x": {"$id": "b.json"}}}',
        '{"$ref": "https://json-schema.org/draft/2020-12/schema"}',
        '{"$ref": "#"}',
        '\ufeff{"properties": {"type": {}, "$ref": {"type": "string"}}}',
    ],
)
def test_references_within_the_file_and_to_the_drafts_are_followed(here: Path, schema: str) -> None:
    assert problems(here, schema) == []


def test_what_checks_nothing_is_warned_of(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    (here / "s.json").write_text(
        '{"requried": ["a"],\n "properties": {"typ": {"format": "colour"}, "b": {"format": "date", "example": 1}},\n'
        ' "allOf": [{"maxlength": 3}], "x-note": {"typ": 1}, "enum": [{"typ": 1}]}'
    )
    with caplog.at_level(logging.WARNING, "thinker"):
        assert load_schema(Path("s.json")) == Path("s.json")
    assert caplog.messages == [
        "s.json:1:14: requried: no keyword of JSON Schema, checks nothing; did you mean 'required'?",
        "s.json:2:35: properties.typ.format: the format 'colour' is not known, and not checked",
        "s.json:3:26: allOf[0].maxlength: no keyword of JSON Schema, checks nothing; did you mean 'maxLength'?",
    ]


@pytest.mark.parametrize("draft", ["draft-07/schema#", "draft/2020-12/schema"])
def test_formats_are_checked_in_every_draft(here: Path, draft: str) -> None:
    (here / "s.json").write_text(f'{{"$schema": "http://json-schema.org/{draft}", "format": "date"}}')
    validator = load_json_schema(here / "s.json").validator
    assert validator.is_valid("2024-02-29")
    assert not validator.is_valid("2023-02-29")


class TestInThePipelineFile:
    FIELD = "  path: data.jsonl\n"

    def configured(self, project: Project, name: str, text: str | None) -> None:
        project.pipeline(f"{self.FIELD}  schema: {name}\n", self.FIELD)
        if text is not None:
            project.write(name, text)

    def test_a_path_is_made_absolute(self, project: Project) -> None:
        self.configured(project, "rows.json", "{}")
        assert load_pipeline_config("pipeline.yaml").data_validation.schema == project.root / "rows.json"

    @pytest.mark.parametrize(
        ("name", "text", "problem"),
        [
            ("rows.json", None, "pipeline.yaml:5:11: data_validation.schema: no such file: rows.json (resolved: "),
            ("rows.yaml", "- name: a\n",
             "pipeline.yaml:5:11: data_validation.schema: expected a list of fields, or the path of a JSON Schema "
             "(.json), got 'rows.yaml'"),
            ("rows.json", '{"type": 3}', "rows.json:1:10: type: expected a type (array, "),
            ("3", None, "pipeline.yaml:5:11: data_validation.schema: expected a list of sections or a path, got"),
        ],
    )  # fmt: skip
    def test_one_that_cannot_be_used_is_told_when_the_file_is_read(
        self, project: Project, name: str, text: str | None, problem: str
    ) -> None:
        self.configured(project, name, text)
        assert project.problem("validate").startswith(problem)

    def test_faults_within_a_list_of_fields_keep_their_place(self, project: Project) -> None:
        project.pipeline(f"{self.FIELD}  schema:\n    - name: a\n      typ: string\n", self.FIELD)
        assert project.problem("validate").startswith(
            "pipeline.yaml:7:7: data_validation.schema[0].typ: unknown key, did you mean 'type'?"
        )

    def test_its_content_counts_in_the_fingerprint_its_name_does_not(self, project: Project) -> None:
        self.configured(project, "rows.json", '{"required": ["a"]}')
        before = config_fingerprint(project.load())
        project.pipeline("  schema: moved.json\n", "  schema: rows.json\n")
        (project.root / "rows.json").rename(project.root / "moved.json")
        assert config_fingerprint(project.load()) == before
        project.write("moved.json", '{"required": ["b"]}')
        assert config_fingerprint(project.load()) != before


class TestListOfFields:
    def test_it_is_the_fields(self, here: Path) -> None:
        (here / "f.yaml").write_text("- name: a\n  type: [string, 'null']\n- {name: b, items: {name: item}}\n")
        fields = load_schema(Path("f.yaml"))
        assert isinstance(fields, tuple)
        assert [field.name for field in fields] == ["a", "b"]

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("- name: a\n  typ: string\n- name: a\n  validator: urll\n",
             ["f.yaml:2:3: [0].typ: unknown key, did you mean 'type'?",
              "f.yaml:3:9: [1].name: 'a' is already the name of [0]",
              "f.yaml:4:14: [1].validator: unknown validator 'urll', did you mean 'url'?"]),
            ("- name: a\n  path: b\n", ["f.yaml:2:3: [0].path: unknown key (known here: name, "]),
            ("name: a\n", ["f.yaml:1:1: expected a list at the top level (- …)"]),
            ("[]\n", ["f.yaml:1:1: is empty; name at least one field"]),
            ("", ["f.yaml:1:1: the file is empty"]),
            ("- name: [\n", ["f.yaml:2:1: bad YAML: "]),
            ("- 3\n", ["f.yaml:1:3: [0]: expected keys and values, got the number 3"]),
        ],
    )  # fmt: skip
    def test_faults_are_told_as_in_the_pipeline_file(self, here: Path, text: str, told: list[str]) -> None:
        (here / "f.yaml").write_text(text)
        with pytest.raises(ConfigError) as caught:
            load_schema(Path("f.yaml"))
        assert len(caught.value.problems) == len(told)
        assert all(map(str.startswith, caught.value.problems, told))

    def test_another_suffix_is_refused(self, here: Path) -> None:
        with pytest.raises(ConfigError, match=r"f.txt: expected a list of fields \(.yaml\) or a JSON Schema \(.json\)"):
            load_schema(Path("f.txt"))


def test_custom_checks_are_known_and_named_once(project: Project) -> None:
    field = "  path: data.jsonl\n"
    project.pipeline(f"{field}  custom_checks: [lost, 'a:b', 'a:b']\n", field)
    assert [problem.partition(" (known")[0] for problem in project.problems("validate")] == [
        "pipeline.yaml:5:19: data_validation.custom_checks[0]: unknown check 'lost'",
        "pipeline.yaml:5:32: data_validation.custom_checks[2]: 'a:b' is named twice",
    ]
