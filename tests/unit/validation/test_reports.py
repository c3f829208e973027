"""Reports for other programs: right by their own formats' rules, complete, and bounded in memory."""

import io
import json
import tracemalloc
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from thinker.config.pipeline_models import SchemaField
from thinker.errors import ConfigError, PreconditionError
from thinker.validation import DatasetValidationResult, DatasetValidator
from thinker.validation.codes import CODES
from thinker.validation.reports import ReportTarget, parse_target, refuse_overwriting, write_report
from thinker.validation.reports.github import write_github
from thinker.validation.reports.jsonl import write_jsonl
from thinker.validation.reports.junit import write_junit
from thinker.validation.reports.sarif import write_sarif

SCHEMA = [SchemaField("a:b,c%", "string", pattern="^<&\"'>$"), SchemaField("n", "integer", required=False, min=0)]
GOOD = {"a:b,c%": "<&\"'>"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def checked(folder: Path, *rows: object, name: str = "train data.jsonl", keep: int = 10_000) -> DatasetValidationResult:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return DatasetValidator(path, SCHEMA, keep_errors=keep).validate()


def written(write: Any, result: DatasetValidationResult) -> str:
    out = io.StringIO()
    write(result, out)
    return out.getvalue()


BAD = ({"a:b,c%": "]]>\x01\U0001f600", "n": -1}, {"a:b,c%": 1}, GOOD, [1])


class TestJsonLines:
    def test_every_problem_has_all_its_fields(self, folder: Path) -> None:
        lines = [json.loads(line) for line in written(write_jsonl, checked(folder, *BAD)).splitlines()]
        assert [(line["line"], line["field"], line["code"]) for line in lines] == [
            (1, "a:b,c%", "THK-DATA-013"), (1, "n", "THK-DATA-014"), (2, "a:b,c%", "THK-DATA-011"),
            (4, "", "THK-DATA-007"),
        ]  # fmt: skip
        assert lines[2] == {
            "code": "THK-DATA-011", "level": "error", "file": "train data.jsonl", "line": 2, "field": "a:b,c%",
            "rule": "type", "message": "expected string, got integer", "excerpt": "1",
        }  # fmt: skip

    def test_a_sound_dataset_gives_an_empty_file(self, folder: Path) -> None:
        assert written(write_jsonl, checked(folder, GOOD)) == ""


class TestGithub:
    def test_properties_and_messages_are_escaped(self, folder: Path) -> None:
        result = checked(folder, BAD[1], name="a,b:c%.jsonl")
        assert written(write_github, result) == (
            "::error file=a%2Cb%3Ac%25.jsonl,line=1,title=THK-DATA-011 type::a:b,c%25: expected string, got integer\n"
        )

    def test_a_problem_of_the_file_has_no_line(self, folder: Path) -> None:
        assert written(write_github, checked(folder)) == (
            "::error file=train data.jsonl,title=THK-DATA-040 no-rows::no rows\n"
        )

    def test_no_more_than_github_shows(self, folder: Path) -> None:
        lines = written(write_github, checked(folder, *BAD * 20)).splitlines()
        assert [line.split()[0] for line in lines] == ["::error"] * 10 + ["::notice"]
        assert lines[-1] == "::notice title=thinker::70 more errors"

    def test_warnings_are_warnings(self, folder: Path) -> None:
        (folder / "w.jsonl").write_text('\n{"n": 1}\n')
        result = DatasetValidator(folder / "w.jsonl", ()).validate()
        assert written(write_github, result).startswith("::warning file=w.jsonl,line=1,title=THK-DATA-041 blank-line::")


class TestJunit:
    def test_each_code_is_a_test_case_that_fails(self, folder: Path) -> None:
        root = ET.fromstring(written(write_junit, checked(folder, *BAD)))
        suite = root.find("testsuite")
        assert suite is not None
        cases = suite.findall("testcase")
        assert [(case.get("name"), case.get("file"), case.get("line")) for case in cases] == [
            ("rows", None, None),
            ("THK-DATA-007 row-not-object", "train data.jsonl", "4"),
            ("THK-DATA-011 type", "train data.jsonl", "2"),
            ("THK-DATA-013 pattern", "train data.jsonl", "1"),
            ("THK-DATA-014 min", "train data.jsonl", "1"),
        ]
        assert all(each.get("tests") == "5" and each.get("failures") == "4" for each in (root, suite))
        failure = cases[3].find("failure")
        assert failure is not None
        assert failure.text is not None
        assert failure.text.startswith("train data.jsonl:1: a:b,c%: does not match '^<&\"\\'>$'")

    def test_warnings_do_not_fail(self, folder: Path) -> None:
        (folder / "w.jsonl").write_text('\n{"n": 1}\n')
        root = ET.fromstring(written(write_junit, DatasetValidator(folder / "w.jsonl", ()).validate()))
        assert root.get("failures") == "0"
        assert (
            root.findtext(".//testcase[@name='THK-DATA-041 blank-line']/system-out") == "w.jsonl:1: blank line, skipped"
        )
        assert root.findtext(".//testcase[@name='rows']/system-out") == "1 rows checked"

    def test_a_test_case_lists_the_first_hundred_and_counts_the_others(self, folder: Path) -> None:
        root = ET.fromstring(written(write_junit, checked(folder, *[BAD[1]] * 250)))
        failure = root.find(".//failure")
        assert failure is not None
        assert (failure.get("message") or "").startswith("250 × ")
        assert (failure.text or "").splitlines()[-1] == "… and 150 more"
        assert len((failure.text or "").splitlines()) == 101


class TestSarif:
    def run(self, result: DatasetValidationResult) -> dict[str, Any]:
        log = json.loads(written(write_sarif, result))
        assert (log["version"], len(log["runs"])) == ("2.1.0", 1)
        found: dict[str, Any] = log["runs"][0]
        return found

    def test_every_code_is_a_rule(self, folder: Path) -> None:
        driver = self.run(checked(folder, GOOD))["tool"]["driver"]
        assert driver["name"] == "Thinker"
        assert [rule["id"] for rule in driver["rules"]] == list(CODES)
        for rule in driver["rules"]:
            assert rule["shortDescription"]["text"] == CODES[rule["id"]].meaning
            assert rule["name"].isalnum()
            assert rule["defaultConfiguration"]["level"] in ("error", "warning", "none")
            assert rule["defaultConfiguration"]["enabled"] == (CODES[rule["id"]].level != "off")

    def test_every_problem_is_a_result_with_its_place(self, folder: Path) -> None:
        run = self.run(checked(folder, *BAD))
        assert run["results"][1] == {
            "ruleId": "THK-DATA-014",
            "ruleIndex": list(CODES).index("THK-DATA-014"),
            "level": "error",
            "message": {"text": "n: less than 0"},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": "train%20data.jsonl"}, "region": {"startLine": 1},
                    },
                    "logicalLocations": [{"fullyQualifiedName": "n", "kind": "property"}],
                }
            ],
            "properties": {"excerpt": "-1"},
        }  # fmt: skip
        assert len(run["results"]) == 4

    def test_a_problem_of_the_file_has_no_region(self, folder: Path) -> None:
        (result,) = self.run(checked(folder))["results"]
        assert result["locations"] == [{"physicalLocation": {"artifactLocation": {"uri": "train%20data.jsonl"}}}]

    def test_a_file_elsewhere_is_an_absolute_uri(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        result = checked(folder)
        (folder / "elsewhere").mkdir()
        monkeypatch.chdir(folder / "elsewhere")
        (found,) = self.run(result)["results"]
        uri = found["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert uri == (folder / "train data.jsonl").as_uri()

    def test_pages_are_linked_where_the_package_says_that_they_are(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import email.message

        metadata = email.message.Message()
        metadata["Project-URL"] = "Homepage, https://example.org"
        metadata["Project-URL"] = "Documentation, https://example.org/docs/"
        monkeypatch.setattr("importlib.metadata.metadata", lambda _: metadata)
        from thinker.validation.reports.sarif import documentation_url

        assert documentation_url() == "https://example.org/docs"


@pytest.mark.parametrize("write", [write_jsonl, write_junit, write_sarif, write_github])
def test_a_report_takes_no_memory_for_each_problem(folder: Path, write: Any) -> None:
    class Nowhere(io.StringIO):
        def write(self, text: str) -> int:
            return len(text)

    def peak(rows: int) -> int:
        result = checked(folder, *[BAD[0]] * rows, keep=0)
        tracemalloc.start()
        write(result, Nowhere())
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(200)  # what is kept for good
    assert peak(4_000) < peak(400) + 100_000


class TestTargets:
    @pytest.mark.parametrize(
        ("text", "target"),
        [
            ("junit=a/b.xml", ReportTarget("junit", Path("a/b.xml"))),
            ("sarif=-", ReportTarget("sarif", None)),
            ("jsonl=x=y", ReportTarget("jsonl", Path("x=y"))),
            ("problems.jsonl", ReportTarget("jsonl", Path("problems.jsonl"))),
            ("out/junit.xml", ReportTarget("junit", Path("out/junit.xml"))),
            ("a.sarif", ReportTarget("sarif", Path("a.sarif"))),
            ("out/a=b.jsonl", ReportTarget("jsonl", Path("out/a=b.jsonl"))),
        ],
    )
    def test_format_and_path_or_a_path_that_tells_its_format(self, text: str, target: ReportTarget) -> None:
        assert parse_target(text) == target

    @pytest.mark.parametrize("text", ["", "-", "junit", "junit=", "html=a.jsonl", "report.txt", "=a.txt"])
    def test_all_else_is_refused(self, text: str) -> None:
        with pytest.raises(ConfigError, match="write FORMAT=PATH with one of jsonl, junit, sarif, github, or a path"):
            parse_target(text)

    def test_no_report_replaces_an_input_nor_another_report(self, folder: Path) -> None:
        data, other = folder / "d.jsonl", ReportTarget("jsonl", Path("r.jsonl"))
        refuse_overwriting([other, ReportTarget("github", None), ReportTarget("sarif", None)], [data])
        for targets in ([ReportTarget("jsonl", Path("d.jsonl"))], [other, other], [ReportTarget("jsonl", folder)]):
            with pytest.raises(ConfigError, match="name another file"):
                refuse_overwriting(targets, [data])

    def test_folders_are_made_and_secrets_masked(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SOME_API_KEY", "sesame-open-sesame")
        result = checked(folder, name="sesame-open-sesame.jsonl")
        write_report(ReportTarget("jsonl", folder / "new" / "deep" / "r.jsonl"), result)
        assert "sesame" not in (folder / "new" / "deep" / "r.jsonl").read_text()

    def test_one_that_cannot_be_written_is_named_and_leaves_nothing(self, folder: Path) -> None:
        (folder / "file").write_text("")
        with pytest.raises(
            PreconditionError, match=r"--report junit=.*r.xml: cannot be written: .*; name another file"
        ):
            write_report(ReportTarget("junit", folder / "file" / "r.xml"), checked(folder))

    def test_a_device_is_written_to_not_replaced(self, folder: Path) -> None:
        write_report(ReportTarget("jsonl", Path("/dev/null")), checked(folder, BAD))
        assert Path("/dev/null").is_char_device()
