"""A hundred thousand rows, sixty defects of twenty kinds at random places: the gate reports those sixty alone."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.project import Project

ROWS, KINDS, PER_KIND = 100_000, 20, 3

SETTINGS = """\
task: prompt_completion
tests: {enabled: false}
data_validation:
  path: data/train.jsonl
  schema:
    - {name: id, type: integer, unique: true}
    - {name: prompt, type: string, pattern: '^Question \\d+: ', max_length: 2000}
    - {name: completion, type: string}
    - {name: stars, type: integer, min: 1, max: 5}
    - {name: label, type: string, enum: [red, green, blue]}
    - name: tags
      type: array
      max_length: 3
      items: {name: item, type: string, validator: planted_validators:lower_case}
training: {config_path: lora.yaml}
runs_dir: runs
"""
VALIDATORS = """\
def lower_case(value):
    return None if value == value.lower() else "not in lower case"
"""

Row = dict[str, Any]
Planted = tuple[bytes, str, str]


def clean_row(number: int) -> Row:
    return {
        "id": number,
        "prompt": f"Question {number}: what is {number} + 1?",
        "completion": f" {number + 1}",
        "stars": 1 + number % 5,
        "label": ("red", "green", "blue")[number % 3],
        "tags": ["sum", "easy"][: 1 + number % 2],
    }


def line_of(row: Row, **changes: Any) -> bytes:
    return json.dumps({**row, **changes}, ensure_ascii=False).encode()


def spoil_text(old: bytes, new: bytes) -> Callable[[Row, Row], bytes]:
    def spoil(row: Row, _: Row) -> bytes:
        assert old in line_of(row)
        return line_of(row).replace(old, new, 1)

    return spoil


# kind -> (how it is planted in a row, given another, clean one that stands before it; the field; the code)
DEFECTS: dict[str, tuple[Callable[[Row, Row], bytes], str, str]] = {
    "a byte that is not UTF-8": (spoil_text(b"what", b"wh\xff"), "", "THK-DATA-001"),
    "a missing comma": (spoil_text(b', "completion"', b' "completion"'), "", "THK-DATA-002"),
    "not a number": (lambda row, _: line_of(row, stars=float("nan")), "stars", "THK-DATA-003"),
    "a number too large": (spoil_text(b'"tags": ', b'"more": [{"x": -1e999}], "tags": '), "more[0].x", "THK-DATA-004"),
    "half a character": (spoil_text(b"what", b"\\ud83d"), "prompt", "THK-DATA-005"),
    "a bare array": (lambda row, _: json.dumps(list(row)).encode(), "", "THK-DATA-007"),
    "a key twice": (spoil_text(b'"stars": ', b'"stars": 1, "stars": '), "stars", "THK-DATA-008"),
    "no label": (lambda row, _: line_of({k: v for k, v in row.items() if k != "label"}), "label", "THK-DATA-010"),
    "a text for a number": (lambda row, _: line_of(row, stars="5"), "stars", "THK-DATA-011"),
    "a blank completion": (lambda row, _: line_of(row, completion=" \t"), "completion", "THK-DATA-012"),
    "another heading": (lambda row, _: line_of(row, prompt=f"Q {row['id']}: why?"), "prompt", "THK-DATA-013"),
    "too few stars": (lambda row, _: line_of(row, stars=0), "stars", "THK-DATA-014"),
    "too many stars": (lambda row, _: line_of(row, stars=6), "stars", "THK-DATA-015"),
    "too many tags": (lambda row, _: line_of(row, tags=["a", "b", "c", "d"]), "tags", "THK-DATA-017"),
    "an unknown label": (lambda row, _: line_of(row, label="Red"), "label", "THK-DATA-018"),
    "an id twice": (lambda row, other: line_of(row, id=other["id"]), "id", "THK-DATA-019"),
    "a tag in capitals": (lambda row, _: line_of(row, tags=["sum", "Easy"]), "tags[1]", "THK-DATA-020"),
    "too many tokens": (lambda row, _: line_of(row, prompt=f"{row['prompt']} {'why ' * 400}"), "", "THK-DATA-060"),
    "an example twice": (
        lambda row, other: line_of(row, prompt=other["prompt"], completion=other["completion"]), "", "THK-DATA-080",
    ),
    "another answer to a question": (lambda row, other: line_of(row, prompt=other["prompt"]), "", "THK-DATA-082"),
}  # fmt: skip


def plant(path: Path, seed: int) -> list[tuple[int, str, str]]:
    """Write the dataset with its defects; returns (line, field, code) of each, in file order."""
    draw = random.Random(seed)
    lines = [line_of(clean_row(number)) for number in range(ROWS)]
    places = draw.sample(range(100, ROWS), KINDS * PER_KIND)
    expected = []
    for place, kind in zip(places, list(DEFECTS) * PER_KIND, strict=True):
        spoil, field, code = DEFECTS[kind]
        other = draw.choice(sorted(set(range(place)) - set(places)))
        lines[place] = spoil(clean_row(place), clean_row(other))
        expected.append((place + 1, field, code))
    path.write_bytes(b"\n".join(lines) + b"\n")
    return sorted(expected)


@pytest.fixture
def large(project: Project) -> Project:
    project.write("pipeline.yaml", SETTINGS)
    project.write("planted_validators.py", VALIDATORS)
    return project


def reported(project: Project) -> list[tuple[int, str, str]]:
    artifact = project.record()["artifacts"].get("dataset_problems")
    if artifact is None:
        return []
    lines = (project.root / artifact["path"]).read_text(encoding="utf-8").splitlines()
    problems = [json.loads(line) for line in lines]
    return sorted((problem["line"], problem["field"], problem["code"]) for problem in problems)


def test_there_are_sixty_defects_of_twenty_kinds() -> None:
    assert len(DEFECTS) == KINDS
    assert len({code for _, _, code in DEFECTS.values()}) == KINDS


@pytest.mark.parametrize("seed", [1])
def test_exactly_the_planted_defects_are_reported(large: Project, seed: int) -> None:
    expected = plant(large.root / "data" / "train.jsonl", seed)
    assert large.thinker("validate", "-q").returncode == 4
    assert reported(large) == expected


def test_the_clean_rows_are_reported_clean(large: Project) -> None:
    lines = [line_of(clean_row(number)) for number in range(ROWS)]
    (large.root / "data" / "train.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    assert large.thinker("validate", "-q").returncode == 0
    assert reported(large) == []
    assert large.record()["validation"]["dataset"]["rows"] == ROWS
