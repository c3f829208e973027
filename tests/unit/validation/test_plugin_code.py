"""Which files a plugin's behaviour rests on."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from thinker.tasks.prompt_completion import PromptCompletion
from thinker.validation.plugin_code import plugin_files

SOURCES = {
    "plug_alone.py": "import json, pytest\n\ndef check(value): ...\n\nclass Check:\n    pass\n",
    "plug_leans.py": "from plug_alone import check\nimport plug_chain as chain\n\ndef own(value): ...\n",
    "plug_chain.py": "def later():\n    import plug_pack.inner\n",
    "plug_pack/__init__.py": "from .inner import check\n",
    "plug_pack/inner.py": "def check(value): ...\n",
    "plug_pack/data/words.txt": "a word\n",
    "plug_space/deep/mod.py": "def check(value): ...\n",
    "unrelated.py": "",
    "json/notes.txt": "a folder that bears the name of a module of Python's\n",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, source in SOURCES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("plug_")]:
        del sys.modules[name]


def plugin(module: str, attribute: str = "check") -> Any:
    return getattr(importlib.import_module(module), attribute)


def files(found: Any, folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in plugin_files(found)}


def test_a_function_a_class_and_an_instance_rest_on_their_module(folder: Path) -> None:
    check = plugin("plug_alone", "Check")
    for found in (plugin("plug_alone"), check, check()):
        assert files(found, folder) == {"plug_alone.py"}


def test_modules_beside_it_that_it_imports_belong_to_it_and_what_they_import(folder: Path) -> None:
    assert files(plugin("plug_leans", "own"), folder) == {
        "plug_leans.py", "plug_alone.py", "plug_chain.py", "plug_pack/__init__.py", "plug_pack/inner.py",
        "plug_pack/data/words.txt",
    }  # fmt: skip


def test_a_package_belongs_to_it_as_a_whole(folder: Path) -> None:
    expected = {"plug_pack/__init__.py", "plug_pack/inner.py", "plug_pack/data/words.txt"}
    assert files(plugin("plug_pack.inner"), folder) == expected
    assert files(plugin("plug_space.deep.mod"), folder) == {"plug_space/deep/mod.py"}


def test_names_do_not_depend_on_the_folder(folder: Path) -> None:
    assert set(plugin_files(plugin("plug_pack")).values()) == {
        "plug_pack/__init__.py", "plug_pack/inner.py", "plug_pack/data/words.txt",
    }  # fmt: skip


def test_an_installed_package_is_itself_and_not_what_is_installed_beside_it() -> None:
    found = plugin_files(pytest.Config)
    assert {name.partition("/")[0] for name in found.values()} == {"_pytest"}


@pytest.mark.parametrize("found", [PromptCompletion, PromptCompletion(), len])
def test_what_comes_with_thinker_or_with_python_has_no_files_of_its_own(found: object) -> None:
    assert plugin_files(found) == {}
