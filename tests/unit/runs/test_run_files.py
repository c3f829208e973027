from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinker.files import write_atomically
from thinker.runs.files import clean, clean_text, render_json, spell_path

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_rendered_json_reads_back_as_the_same_value(value: object) -> None:
    assert json.loads(render_json(value)) == value


def test_rendered_json_keeps_a_list_of_numbers_on_one_line() -> None:
    text = render_json({"rows": list(range(1000)), "files": [{"path": "a"}]})

    assert len(text.splitlines()) == 8


@given(st.text(alphabet=st.characters(codec=None)) | st.binary().map(os.fsdecode))
def test_any_text_can_be_written_as_utf8_once_clean(text: str) -> None:
    clean_text(text).encode("utf-8")


def test_clean_makes_undefined_numbers_null() -> None:
    assert clean({"loss": math.nan, "grad_norm": [math.inf, 1.5]}) == {"loss": None, "grad_norm": [None, 1.5]}


def test_clean_refuses_what_json_cannot_hold() -> None:
    with pytest.raises(TypeError, match="set"):
        clean({"labels": {1, 2}})


def test_path_inside_the_current_folder_is_spelled_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert spell_path(tmp_path / "configs" / "pipeline.yaml") == "configs/pipeline.yaml"


def test_path_outside_the_current_folder_stays_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    assert spell_path(tmp_path / "there.yaml") == (tmp_path / "there.yaml").as_posix()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a process's folder from being removed")
def test_path_is_spelled_though_the_current_folder_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()

    assert spell_path(tmp_path / "a") == (tmp_path / "a").as_posix()


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_process_killed_while_writing_leaves_the_old_file(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "record.json"
    path.write_text("old", encoding="utf-8")
    script = f"""
import os
from pathlib import Path
from thinker.files import write_atomically
os.{moment} = lambda *_: os._exit(9)
write_atomically(Path({str(path)!r}), "new")
"""

    killed = subprocess.run([sys.executable, "-c", script], check=False)

    assert killed.returncode == 9
    assert path.read_text(encoding="utf-8") == "old"


def test_file_that_cannot_be_replaced_leaves_no_half_file(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()

    with pytest.raises(OSError, match=r"folder\.json"):
        write_atomically(tmp_path / "folder.json", "new")

    assert [entry.name for entry in tmp_path.iterdir()] == ["folder.json"]
