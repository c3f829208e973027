"""`thinker check`, and the reports of `thinker validate`, as a user runs them."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
from support.project import Project
from test_command_line import modules_loaded

FIELDS = """\
- name: prompt
  type: string
- name: stars
  type: integer
  required: false
  max: 5
  unique: true
"""
JSON_SCHEMA = '{"required": ["prompt"], "properties": {"prompt": {"type": "string", "minLength": 1}}}'
ROWS = '{"prompt": "p"}\n{"prompt": ""}\n{"prompt": "q", "stars": 9}\n{"prompt": "r", "prompt": "s"}\n[1]\n'

Run = Callable[..., int]


@pytest.fixture
def thinker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line in a folder with data and schemas."""
    from thinker.cli.entry import run

    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text(ROWS)
    (tmp_path / "good.jsonl").write_text('{"prompt": "p", "stars": 3}\n')
    (tmp_path / "fields.yaml").write_text(FIELDS)
    (tmp_path / "schema.json").write_text(JSON_SCHEMA)
    return lambda *args: run(["check", *args])


def test_a_sound_file_passes_and_is_summed_up(thinker: Run, capfd: pytest.CaptureFixture[str]) -> None:
    assert thinker("good.jsonl", "--schema", "fields.yaml") == 0
    shown = capfd.readouterr()
    assert shown.out.startswith("good.jsonl: 1 rows, 0 errors, 0 warnings, sha256 ")
    assert "error" not in shown.err


@pytest.mark.parametrize(
    ("schema", "errors"),
    [
        (["--schema", "fields.yaml"], [(2, "prompt", "THK-DATA-012"), (3, "stars", "THK-DATA-015"),
                                       (5, "", "THK-DATA-007")]),
        (["--schema", "schema.json"], [(2, "prompt", "THK-DATA-021"), (5, "", "THK-DATA-007")]),
        ([], [(5, "", "THK-DATA-007")]),
    ],
)  # fmt: skip
def test_json_has_each_error_with_its_place(
    thinker: Run, capfd: pytest.CaptureFixture[str], schema: list[str], errors: list[tuple[int, str, str]]
) -> None:
    assert thinker("rows.jsonl", *schema, "--json") == 4
    found = json.loads(capfd.readouterr().out)
    assert [(each["line"], each["field"], each["code"]) for each in found["errors"]] == errors
    assert [(each["line"], each["field"], each["code"]) for each in found["warnings"]] == [
        (4, "prompt", "THK-DATA-008")
    ]
    assert set(found["errors"][0]) == {"code", "level", "file", "line", "field", "rule", "message", "excerpt"}
    assert (found["ok"], found["status"], found["exit_code"], found["rows"]) == (False, "failed", 4, 5)
    assert (found["error_count"], found["warning_count"], found["complete"]) == (len(errors), 1, True)
    assert sum(found["counts_by_code"].values()) == len(errors) + 1
    assert len(found["sha256"]) == 64


def test_json_of_a_sound_file(thinker: Run, capfd: pytest.CaptureFixture[str]) -> None:
    assert thinker("good.jsonl", "--json", "-q") == 0
    shown = capfd.readouterr()
    found = json.loads(shown.out)
    assert (found["ok"], found["errors"], found["warnings"], shown.err) == (True, [], [], "")


def test_several_files_are_one_dataset(thinker: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "more.jsonl").write_text('{"prompt": "p", "stars": 3}\n')
    assert thinker("good.jsonl", "more.jsonl", "--schema", "fields.yaml", "--json") == 4
    found = json.loads(capfd.readouterr().out)
    assert found["files"] == ["good.jsonl", "more.jsonl"]
    assert [(each["file"], each["line"], each["code"]) for each in found["errors"]] == [
        ("more.jsonl", 1, "THK-DATA-019")
    ]


def test_max_examples_caps_and_says_so(thinker: Run, capfd: pytest.CaptureFixture[str]) -> None:
    assert thinker("rows.jsonl", "--max-examples", "1", "--json") == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["rows"], found["complete"]) == (1, False)


def test_messages_off_a_terminal_are_lines_and_as_many_as_asked_for(
    thinker: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    assert thinker("rows.jsonl", "--schema", "fields.yaml", "--max-errors", "1") == 4
    said = capfd.readouterr().err
    assert "[thinker] error: rows.jsonl:2: prompt: empty string (THK-DATA-012)\n" in said
    assert "[thinker] error: … and 2 more errors\n" in said
    assert thinker("rows.jsonl", "-q") == 4
    assert capfd.readouterr() == (
        "", "[thinker] error: rows.jsonl:5: a row must be a JSON object, not an array (THK-DATA-007)\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["lost.jsonl"], "no such file: lost.jsonl (resolved: "),
        (["."], "is a folder, not a file: ."),
        (["good.jsonl", "--schema", "lost.yaml"], "lost.yaml: cannot be read: No such file or directory"),
        (["good.jsonl", "--schema", "rows.jsonl"], "rows.jsonl: expected a list of fields (.yaml) or a JSON Schema"),
        (["good.jsonl", "--report", "jsonl=good.jsonl"], "--report jsonl=good.jsonl: "),
        (["good.jsonl", "--report", "schema.json", "--schema", "schema.json"], "--report schema.json: write FORMAT="),
        (["good.jsonl", "--report", "jsonl=schema.json", "--schema", "schema.json"], "is an input of the gate"),
        (["good.jsonl", "--report", "github=-", "--json"], "exclude each other"),
        ([], "Missing argument 'FILE...'"),
    ],
)
def test_what_cannot_be_used_is_exit_code_2_before_anything_is_read(
    thinker: Run, capfd: pytest.CaptureFixture[str], args: list[str], message: str
) -> None:
    assert thinker(*args) == 2
    assert message in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("bad.yaml", "- name: prompt\n  typ: string\n", "bad.yaml:2:3: [0].typ: unknown key, did you mean 'type'?"),
        (
            "bad.json",
            '{"properties":\n  {"a": {"type": "strin"}}}',
            "bad.json:2:18: properties.a.type: expected a type",
        ),
    ],
)
def test_a_bad_schema_is_told_with_its_place(
    thinker: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, text: str, place: str
) -> None:
    (tmp_path / name).write_text(text)
    assert thinker("good.jsonl", "--schema", name, "--json") == 2
    shown = capfd.readouterr()
    assert shown.err.startswith(f"[thinker] error: {place}")
    assert json.loads(shown.out)["error"]["problems"][0].startswith(place)


def test_a_validator_beside_the_schema_is_found(
    thinker: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "rules_beside_schema.py").write_text("def short(value):\n    return len(value) < 2\n")
    (tmp_path / "sub" / "f.yaml").write_text("- {name: prompt, validator: 'rules_beside_schema:short'}\n")
    assert thinker("good.jsonl", "--schema", "sub/f.yaml") == 0
    (tmp_path / "good.jsonl").write_text('{"prompt": "long"}\n')
    assert thinker("good.jsonl", "--schema", "sub/f.yaml") == 4
    assert "prompt: refused by the validator 'rules_beside_schema:short' (THK-DATA-020)" in capfd.readouterr().err


def test_reports_of_every_format_are_written_at_once(
    thinker: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    reports = [
        "--report",
        "out/r.jsonl",
        "--report",
        "junit=out/r.xml",
        "--report",
        "out/r.sarif",
        "--report",
        "github=-",
    ]
    assert thinker("rows.jsonl", "--schema", "fields.yaml", *reports) == 4
    lines = [json.loads(line) for line in (tmp_path / "out/r.jsonl").read_text().splitlines()]
    assert [line["line"] for line in lines] == [2, 3, 5, 4]
    assert ET.parse(tmp_path / "out/r.xml").getroot().get("failures") == "3"
    results = json.loads((tmp_path / "out/r.sarif").read_text())["runs"][0]["results"]
    assert [result["level"] for result in results] == ["error"] * 3 + ["warning"]
    assert capfd.readouterr().out.startswith("::error file=rows.jsonl,line=2,title=THK-DATA-012 empty::prompt: empty")


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_on_a_terminal_problems_are_a_table(thinker: Run, tmp_path: Path) -> None:
    import pty

    (tmp_path / "rows.jsonl").write_text('{"prompt": 1, "tags[b]": 1, "tags[b]": 2}\n{"prompt": "x", "stars": 9}\n')
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "thinker", "check", "rows.jsonl", "--schema", "fields.yaml"]
    environment = {**os.environ, "COLUMNS": "110", "TERM": "dumb", "NO_COLOR": "1"}
    with subprocess.Popen(command, stderr=theirs, stdout=subprocess.DEVNULL, env=environment) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                block = os.read(ours, 4096)
            except OSError:  # what Linux says at the end
                break
            if not block:
                break
            shown += block
    os.close(ours)
    assert process.returncode == 4
    lines = [" ".join(line.split()) for line in shown.decode().splitlines()]
    assert "2 errors" in lines
    assert "line field code problem value" in lines
    assert "1 prompt THK-DATA-011 expected string, got integer 1" in lines
    assert "2 stars THK-DATA-015 greater than 5 9" in lines
    assert any(line.startswith("1 tags[b] THK-DATA-008") for line in lines)


def test_a_library_for_json_schema_is_imported_only_where_one_is_used(thinker: Run, tmp_path: Path) -> None:
    code = "from thinker.cli.entry import run\nassert run(['check', 'good.jsonl', '-q', '--schema', '{}']) == 0"
    heavy = {"torch", "transformers", "pytest", "datasets", "numpy", "tokenizers"}
    loaded = modules_loaded(code.format("fields.yaml"), tmp_path)
    assert not (heavy | {"jsonschema_rs"}) & loaded
    loaded = modules_loaded(code.format("schema.json"), tmp_path)
    assert not heavy & loaded
    assert "jsonschema_rs" in loaded


class TestValidate:
    def test_a_report_is_written_and_a_gate_that_passed_before_runs_again_for_it(
        self, project: Project, capfd: pytest.CaptureFixture[str]
    ) -> None:
        project.write("data/train.jsonl", '{"prompt": "p", "completion": "c"}\n')
        assert project.run_here("validate", "-q") == 0
        assert project.run_here("validate", "--report", "r.sarif", "--report", "junit=r.xml") == 0
        assert "because of --report" in capfd.readouterr().err
        assert ET.parse(project.root / "r.xml").getroot().get("failures") == "0"
        assert json.loads((project.root / "r.sarif").read_text(encoding="utf-8"))["version"] == "2.1.0"

    def test_a_dataset_that_fails_is_in_the_report(self, project: Project, capfd: pytest.CaptureFixture[str]) -> None:
        project.write("data/train.jsonl", '{"prompt": "p", "completion": ""}\n{"prompt": 1, "completion": "c"}\n')
        assert project.run_here("validate", "--report", "r.jsonl", "--max-errors", "1") == 4
        lines = [json.loads(line) for line in (project.root / "r.jsonl").read_text(encoding="utf-8").splitlines()]
        assert [(line["file"], line["line"], line["code"]) for line in lines] == [
            ("data/train.jsonl", 1, "THK-DATA-012"), ("data/train.jsonl", 2, "THK-DATA-011"),
        ]  # fmt: skip
        assert "… and 1 more error\n" in capfd.readouterr().err

    def test_a_report_that_cannot_be_written_does_not_hide_what_is_wrong(
        self, project: Project, capfd: pytest.CaptureFixture[str]
    ) -> None:
        project.write("file", "")
        assert project.run_here("validate", "-q", "--report", "file/r.jsonl", "--force") == 2
        assert "[thinker] error: --report jsonl=file/r.jsonl: cannot be written: " in capfd.readouterr().err
        project.write("data/train.jsonl", '{"prompt": "p", "completion": ""}\n')
        assert project.run_here("validate", "-q", "--report", "file/r.jsonl") == 4
        said = capfd.readouterr().err
        assert "cannot be written" in said
        assert "THK-DATA-012" in said

    @pytest.mark.parametrize("name", ["pipeline.yaml", "lora.yaml", "data/train.jsonl", "data/eval.jsonl"])
    def test_an_input_is_never_replaced(self, project: Project, name: str, capfd: pytest.CaptureFixture[str]) -> None:
        before = (project.root / name).read_bytes()
        assert project.run_here("validate", "-q", "--report", f"junit={name}") == 2
        assert "name another file" in capfd.readouterr().err
        assert (project.root / name).read_bytes() == before
        assert not list((project.root).glob("runs/*.json"))

    def test_a_json_schema_file_is_the_schema(self, project: Project, capfd: pytest.CaptureFixture[str]) -> None:
        project.write("rows.json", '{"properties": {"completion": {"maxLength": 4}}}')
        project.replace(
            "pipeline.yaml", "  path: data/train.jsonl\n", "  path: data/train.jsonl\n  schema: rows.json\n"
        )
        assert project.run_here("validate", "-q") == 4
        assert (
            "train.jsonl:1: completion: maxLength: length 5, at most 4 allowed (THK-DATA-021)" in capfd.readouterr().err
        )
