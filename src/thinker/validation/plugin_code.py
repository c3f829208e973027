"""The files that a plugin's behaviour rests on: its module, the whole package around it, and what lies beside it.

Found by reading import statements; a module that is imported by a computed name is not seen, nor are packages that are
installed elsewhere.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from thinker.hashing import tree_hashes
from thinker.validation.places import python_folders


def plugin_files(plugin: Any) -> dict[Path, str]:
    """The files of a plugin, each with its path from the folder that its top-level module lies in.

    Empty for what comes with Thinker or is built into Python.

    Args:
        plugin: a function, a class, or an instance of one.
    """
    module = _module_of(plugin)
    source = getattr(module, "__file__", None)
    if module is None or source is None:
        return {}
    top = module.__name__.partition(".")[0]
    if top == "thinker":
        return {}
    file, package = Path(source), _package_folder(top)
    home, first = (package.parent, package.name) if package else (file.parent, file.stem)
    # Beside an installed package lie all the others; their versions speak for them.
    is_installed = any(home.is_relative_to(folder) for folder in python_folders())
    found = {file: file.relative_to(home).as_posix() if file.is_relative_to(home) else file.name}
    waiting, met = [first], {first}
    while waiting:
        for path, inside in _files(home, waiting.pop()):
            found[path] = inside
            imported = () if is_installed or path.suffix != ".py" else _imports(path)
            new = set(imported) - met
            waiting += sorted(new)
            met |= new
    return found


def _module_of(plugin: Any) -> ModuleType | None:
    target = inspect.unwrap(plugin) if callable(plugin) else plugin
    return inspect.getmodule(target) or sys.modules.get(type(target).__module__)


def _package_folder(name: str) -> Path | None:
    """The folder of a loaded package; None for a module that is a file, or that is not loaded."""
    folders = getattr(sys.modules.get(name), "__path__", ())
    return next((Path(folder) for folder in folders), None)


def _files(home: Path, name: str) -> Iterator[tuple[Path, str]]:
    """The module or package `name` in the folder `home`, if it is there."""
    folder = home / name
    if (folder / "__init__.py").is_file() or _package_folder(name) == folder:
        yield from ((folder / inside, f"{name}/{inside}") for inside in tree_hashes(folder))
    elif (home / f"{name}.py").is_file():
        yield home / f"{name}.py", f"{name}.py"


def _imports(path: Path) -> Iterator[str]:
    """Top-level names of the modules that the source in `path` imports, absolute imports alone."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):  # never run, or it would have been refused before
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]
