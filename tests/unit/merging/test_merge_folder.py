"""A merged model takes the place of nothing but an earlier one."""

import json
from pathlib import Path

import pytest

from thinker.errors import PreconditionError
from thinker.hashing import sha256_file
from thinker.merging.folder import check_target, folder_to_fill


def earlier_merge(folder: Path) -> Path:
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    files = {"model.safetensors": sha256_file(folder / "model.safetensors")}
    (folder / "merge.json").write_text(json.dumps({"kind": "merged model", "files": files}), encoding="utf-8")
    return folder


def test_a_folder_that_is_absent_or_empty_is_taken(tmp_path: Path) -> None:
    check_target(tmp_path / "absent", [])
    check_target(tmp_path, [])


def test_an_earlier_merge_is_taken(tmp_path: Path) -> None:
    check_target(earlier_merge(tmp_path / "merged"), [])


@pytest.mark.parametrize("name", ["model.gguf", "notes/todo.txt"])
def test_an_earlier_merge_with_a_file_of_someone_elses_is_refused(tmp_path: Path, name: str) -> None:
    folder = earlier_merge(tmp_path / "merged")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("mine", encoding="utf-8")
    with pytest.raises(PreconditionError, match=f"{name.split('/')[0]} is not part of the merge"):
        check_target(folder, [])


def test_an_earlier_merge_that_was_edited_is_refused(tmp_path: Path) -> None:
    folder = earlier_merge(tmp_path / "merged")
    (folder / "model.safetensors").write_bytes(b"better weights")
    with pytest.raises(PreconditionError, match=r"model\.safetensors was changed"):
        check_target(folder, [])


@pytest.mark.parametrize("manifest", [None, "{}", '{"kind": "merged model"}', "[]", "no json"])
def test_any_other_folder_is_refused(tmp_path: Path, manifest: str | None) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    if manifest is not None:
        (tmp_path / "merge.json").write_text(manifest, encoding="utf-8")
    with pytest.raises(PreconditionError, match="is not empty, and not as `thinker merge` left it"):
        check_target(tmp_path, [])


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "merged").write_text("a file", encoding="utf-8")
    with pytest.raises(PreconditionError, match="is not a folder"):
        check_target(tmp_path / "merged", [])


def test_a_base_model_that_is_itself_a_merge_is_not_overwritten(tmp_path: Path) -> None:
    base = earlier_merge(tmp_path / "merged")
    for taken in (base, base / "model.safetensors"):
        with pytest.raises(PreconditionError, match="would overwrite"):
            check_target(base, [taken])


def test_the_folder_appears_whole(tmp_path: Path) -> None:
    with folder_to_fill(tmp_path / "a" / "merged") as temporary:
        (temporary / "file").write_text("new", encoding="utf-8")
        assert not (tmp_path / "a" / "merged").exists()
    assert (tmp_path / "a" / "merged" / "file").read_text(encoding="utf-8") == "new"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["merged"]


@pytest.mark.parametrize("stopped_by", [ValueError, KeyboardInterrupt])
def test_what_stops_halfway_leaves_what_was_there(tmp_path: Path, stopped_by: type[BaseException]) -> None:
    def fill_half() -> None:
        with folder_to_fill(tmp_path / "merged") as temporary:
            (temporary / "file").write_text("half", encoding="utf-8")
            raise stopped_by

    earlier_merge(tmp_path / "merged")
    with pytest.raises(stopped_by):
        fill_half()
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]
    check_target(tmp_path / "merged", [])


def test_an_earlier_merge_is_replaced_as_a_whole(tmp_path: Path) -> None:
    earlier_merge(tmp_path / "merged")
    with folder_to_fill(tmp_path / "merged") as temporary:
        (temporary / "file").write_text("new", encoding="utf-8")
    assert [path.name for path in (tmp_path / "merged").iterdir()] == ["file"]
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with (
        pytest.raises(PreconditionError, match="cannot write the merged model to"),
        folder_to_fill(tmp_path / "file" / "merged"),
    ):
        pass
