"""Each check has a page: it says what the code says, and its example is answered as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from ruamel.yaml import YAML

from thinker.config.pipeline_models import SchemaField
from thinker.validation import DatasetValidator, codes

PAGES = Path(__file__).parents[2] / "docs" / "checks"
_BLOCK = re.compile(r"^<!-- (schema|rows|problems) -->\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(code: str) -> str:
    return (PAGES / f"{code}.md").read_text(encoding="utf-8")


def blocks(code: str) -> dict[str, str]:
    return dict(_BLOCK.findall(text_of(code)))


EXAMPLES = [code for code in codes.CODES if "rows" in blocks(code)]


def test_there_is_a_page_for_each_code_and_none_beside() -> None:
    assert {path.stem for path in PAGES.glob("THK-*.md")} == set(codes.CODES)


@pytest.mark.parametrize("entry", codes.CODES.values(), ids=lambda entry: entry.code)
def test_a_page_says_what_the_code_says(entry: codes.Code) -> None:
    title, _, rest = text_of(entry.code).partition("\n\n")
    said = " ".join(rest.split())
    level = "always **error**" if entry.fixed else f"**{entry.level}** unless"
    assert title == f"# {entry.code} · {entry.slug}"
    assert said.startswith(f"{entry.meaning} Level: {level}")
    assert "## Why it matters" in rest
    assert "## What to do" in rest


def test_the_index_lists_every_check_with_its_level() -> None:
    rows = re.findall(r"^\| \[`(.+?)`\]\((.+?)\) \| (.+?) \| (.+?) \| (.+?) \|$",
                      (PAGES / "README.md").read_text(encoding="utf-8"), re.MULTILINE)  # fmt: skip
    expected = [
        (code, f"{code}.md", entry.slug, ("always " if entry.fixed else "") + entry.level, entry.meaning)
        for code, entry in codes.CODES.items()
    ]
    assert rows == expected


@pytest.mark.parametrize("code", EXAMPLES)
def test_a_pages_example_is_answered_as_the_page_says(code: str, tmp_path: Path) -> None:
    found = blocks(code)
    (tmp_path / "data.jsonl").write_text(found["rows"], encoding="utf-8")
    fields = YAML(typ="safe").load(found["schema"]) if "schema" in found else []
    schema = TypeAdapter(list[SchemaField]).validate_python(fields, strict=False)
    result = DatasetValidator(tmp_path / "data.jsonl", schema).validate()
    assert result.summary() == found["problems"].splitlines()
    assert set(result.counts_by_code) == {code}
