"""What a block of code reads, as the audit hook sees it: real files, real imports, real threads."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from pathlib import Path

import pytest

from thinker.validation import observation
from thinker.validation.observation import observed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("one.txt", "two.txt", "three.txt"):
        (tmp_path / name).write_text(name)
    return tmp_path


def read_here(seen: observation.Observation, folder: Path) -> set[str]:
    return {path.name for path in seen.read if path.parent == folder}


def test_every_way_to_open_a_file_is_seen(folder: Path) -> None:
    with observed() as seen:
        (folder / "one.txt").read_text()
        os.close(os.open(folder / "two.txt", os.O_RDONLY))
        with open(os.fsencode(folder / "three.txt"), "rb+") as file:  # noqa: PTH123  bytes are a path too
            file.read()
    assert read_here(seen, folder) == {"one.txt", "two.txt", "three.txt"}


def test_a_relative_name_is_meant_from_the_folder_of_that_moment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "inner").mkdir()
    (folder / "inner/deep.txt").write_text("x")
    with observed() as seen:
        monkeypatch.chdir(folder / "inner")
        Path("deep.txt").read_text()
        Path("../one.txt").read_text()
        monkeypatch.chdir(folder)
    assert folder / "inner/deep.txt" in seen.read
    assert folder / "one.txt" in seen.read


def test_other_threads_are_seen(folder: Path) -> None:
    with observed() as seen:
        threads = [threading.Thread(target=(folder / name).read_text) for name in ("one.txt", "two.txt")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert read_here(seen, folder) == {"one.txt", "two.txt"}


def test_nothing_is_seen_before_and_after(folder: Path) -> None:
    with observed():
        pass
    (folder / "one.txt").read_text()
    with observed() as seen:
        (folder / "two.txt").read_text()
    (folder / "three.txt").read_text()
    assert read_here(seen, folder) == {"two.txt"}


def test_an_observation_within_another_takes_nothing_from_it(folder: Path) -> None:
    with observed() as outer:
        (folder / "one.txt").read_text()
        with observed() as inner:
            (folder / "two.txt").read_text()
        (folder / "three.txt").read_text()
    assert read_here(inner, folder) == {"two.txt"}
    assert read_here(outer, folder) == {"one.txt", "two.txt", "three.txt"}


def test_it_ends_with_its_block_whatever_ends_that(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt), observed() as seen:
        raise KeyboardInterrupt
    (folder / "one.txt").read_text()
    assert not read_here(seen, folder)


def test_a_database_is_seen(folder: Path) -> None:
    for name in ("plain.db", "address.db"):
        with sqlite3.connect(folder / name) as made:
            made.execute("create table t (a)")
        made.close()
    with observed() as seen:
        sqlite3.connect(folder / "plain.db").close()
        sqlite3.connect(f"file:{folder}/address.db?mode=ro", uri=True).close()
        sqlite3.connect(":memory:").close()
    assert read_here(seen, folder) == {"plain.db", "address.db"}


@pytest.mark.parametrize("compiled", [False, True], ids=["source", "compiled"])
def test_a_module_is_its_source(folder: Path, monkeypatch: pytest.MonkeyPatch, compiled: bool) -> None:
    name = f"observed_module_{compiled}"
    (folder / f"{name}.py").write_text("X = 1\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    if compiled:
        __import__(name)
        del sys.modules[name]
    with observed() as seen:
        __import__(name)
    assert folder / f"{name}.py" in seen.read
    assert not any(path.suffix == ".pyc" for path in seen.read)


def test_a_module_that_was_loaded_before_counts_as_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "observed_before.py").write_text("X = 1\n")
    monkeypatch.syspath_prepend(folder)
    __import__("observed_before")
    with observed() as seen:
        pass
    assert folder / "observed_before.py" in seen.read


def test_installed_packages_are_named_and_their_files_are_not(folder: Path) -> None:
    with observed() as seen:
        Path(pytest.__file__).read_text()
    assert "pytest" in seen.packages
    assert Path(pytest.__file__) not in seen.read


def test_what_the_block_wrote_is_its_own_work(folder: Path) -> None:
    with observed() as seen:
        (folder / "made.txt").write_text("x")
        (folder / "made.txt").read_text()
        (folder / "moved.tmp").write_text("x")
        (folder / "moved.tmp").replace(folder / "moved.txt")
        (folder / "moved.txt").read_text()
        (folder / "one.txt").write_text("anew")
        (folder / "one.txt").read_text()
        with (folder / "log.txt").open("a") as log:
            log.write("x")
    assert not read_here(seen, folder)
    assert seen.changed() == []


def test_a_file_that_was_read_and_then_changed_is_told(folder: Path) -> None:
    with observed() as seen:
        (folder / "one.txt").read_text()
        (folder / "one.txt").write_text("something else")
        (folder / "two.txt").read_text()
        (folder / "two.txt").unlink()
        (folder / "three.txt").read_text()
    assert seen.changed() == [folder / "one.txt", folder / "two.txt"]


def test_a_file_that_was_looked_for_in_vain_is_remembered_as_absent(folder: Path) -> None:
    with observed() as seen, pytest.raises(FileNotFoundError):
        (folder / "absent.txt").read_text()
    assert seen.read[folder / "absent.txt"] is None


def test_a_cache_that_the_block_makes_for_itself_is_its_own_work(folder: Path) -> None:
    with observed() as seen:
        try:
            (folder / "cache.txt").read_text()
        except FileNotFoundError:
            (folder / "cache.txt").write_text("x")
        (folder / "cache.txt").read_text()
    assert not read_here(seen, folder)


@pytest.mark.parametrize(
    "ask",
    [lambda folder: list(folder.glob("*.txt")), lambda folder: list(folder.iterdir()),
     lambda folder: list(os.walk(folder)), os.listdir],
    ids=["glob", "iterdir", "walk", "listdir"],
)  # fmt: skip
def test_a_folder_whose_entries_are_asked_for_is_seen(folder: Path, ask) -> None:
    with observed() as seen:
        ask(folder)
    assert seen.listed == {folder}


def test_folders_that_imports_search_are_not_listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    with observed() as seen, pytest.raises(ImportError):
        __import__("no_such_module_here")
    assert folder not in seen.listed


def test_removing_a_tree_elsewhere_hides_no_file_of_the_same_name_here(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`shutil.rmtree` removes names relative to an open folder, which an audit hook is not told."""
    import shutil

    (folder / "elsewhere").mkdir()
    (folder / "elsewhere/one.txt").write_text("x")
    monkeypatch.chdir(folder)
    with observed() as seen:
        shutil.rmtree(folder / "elsewhere")
        Path("one.txt").read_text()
    assert "one.txt" in read_here(seen, folder)


def test_programs_are_noticed(folder: Path) -> None:
    import subprocess

    with observed() as quiet:
        pass
    with observed() as seen:
        subprocess.run([sys.executable, "-c", ""], check=True)
    assert (quiet.started_programs, seen.started_programs) == (False, True)


@pytest.mark.parametrize(
    "path", [object(), 10**6, "", "\0", b"\xff"], ids=["object", "number", "empty", "null", "bytes"]
)
def test_odd_arguments_fail_as_they_would_anyway(path: object) -> None:
    with observed(), pytest.raises((OSError, TypeError, ValueError)):
        open(path)  # type: ignore[call-overload]  # noqa: PTH123, SIM115
