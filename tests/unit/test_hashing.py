from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinker.hashing import canonical_json, digest, sha256_file, tree_digest, tree_hashes


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * 3_000_001)
    assert sha256_file(path) == hashlib.sha256(b"x" * 3_000_001).hexdigest()


def test_an_edit_right_after_hashing_is_seen_even_if_size_and_times_stay(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"one")
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    first = sha256_file(path)
    path.write_bytes(b"two")
    os.utime(path, ns=times)
    assert sha256_file(path) != first


def test_a_settled_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"one")
    reads: list[str] = []
    real = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *given: reads.append("read") or real(*given))  # type: ignore
    sha256_file(path)
    sha256_file(path)
    assert len(reads) == 2, "a file just written may change again within the same tick"
    monkeypatch.setattr("thinker.hashing._SETTLED_AFTER_S", -3600.0)
    sha256_file(path)
    sha256_file(path)
    assert len(reads) == 3


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sha256_file(tmp_path / "gone")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "a.py",
        "sub/b.py",
        ".hidden_file",
        ".hidden/c.py",
        "__pycache__/d.pyc",
        ".pytest_cache/e",
        "sub/f.pyc",
    ):
        (tmp_path / "t" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "t" / name).write_text(name, encoding="utf-8")
    return tmp_path / "t"


def test_a_tree_has_its_files_by_posix_name_without_byproducts(folder: Path) -> None:
    assert list(tree_hashes(folder)) == [".hidden_file", "a.py", "sub/b.py"]
    assert tree_hashes(folder)["sub/b.py"] == hashlib.sha256(b"sub/b.py").hexdigest()


def test_names_to_skip_may_be_patterns(folder: Path) -> None:
    assert list(tree_hashes(folder, skip={"__pycache__", "*.py", ".h*"})) == ["sub/f.pyc"]


def test_a_tree_digest_holds_names_and_contents_but_not_the_place(folder: Path) -> None:
    before = tree_digest(folder)
    moved = folder.rename(folder.parent / "moved")
    assert tree_digest(moved) == before
    (moved / "a.py").rename(moved / "z.py")
    renamed = tree_digest(moved)
    (moved / "z.py").write_text("changed", encoding="utf-8")
    assert len({before, renamed, tree_digest(moved)}) == 3


def test_links_are_followed_but_not_in_circles(folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "x").write_text("x", encoding="utf-8")
    try:
        (folder / "link").symlink_to(outside, target_is_directory=True)
        (folder / "loop").symlink_to(folder, target_is_directory=True)
        (folder / "broken").symlink_to(folder / "gone")
    except OSError as error:
        pytest.skip(f"symbolic links are not allowed here: {error}")
    assert list(tree_hashes(folder)) == [".hidden_file", "a.py", "link/x", "sub/b.py"]


def test_canonical_json_is_sorted_and_dense_utf_8() -> None:
    value = {"b": [1, 2.5, None, True], "a": {"é": "ü", "": ()}}
    assert canonical_json(value) == '{"a":{"":[],"é":"ü"},"b":[1,2.5,null,true]}'.encode()


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (0, -0.0), (2e-4, 0.0002), (1000, 1e3), ([1], (1.0,))])
def test_equal_values_have_one_text(one: Any, other: Any) -> None:
    assert canonical_json(one) == canonical_json(other)


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, "1"), (2**53, 2**53 + 1), (None, "null"), ({}, [])])
def test_different_values_have_different_texts(one: Any, other: Any) -> None:
    assert canonical_json(one) != canonical_json(other)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_has_no_json_text_is_a_value_error(value: Any) -> None:
    with pytest.raises(ValueError, match=r"JSON|surrogates"):
        canonical_json({"a": [value]})


@pytest.mark.parametrize("value", [{1: 2}, {None: 1}, {1, 2}, b"x", Path("x")])
def test_what_is_not_json_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError):
        canonical_json({"a": value})


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def _shuffled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shuffled(value[key]) for key in reversed(value)}
    return [_shuffled(item) for item in value] if isinstance(value, list) else value


@given(value=_json)
def test_the_order_of_keys_does_not_count(value: Any) -> None:
    assert digest(_shuffled(value)) == digest(value)
    assert digest(value) == hashlib.sha256(canonical_json(value)).hexdigest()
