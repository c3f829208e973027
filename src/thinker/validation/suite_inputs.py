"""The test suite's part of the gate's inputs: its settings, its files, and the files that it declares to read."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from thinker.config.experiment import Experiment
from thinker.config.paths import matching
from thinker.hashing import tree_hashes
from thinker.validation.gate_inputs import Part
from thinker.validation.places import Places, folder_of, hash_of

# pytest adds them to its arguments, or loads them, whatever the configuration says.
_PYTEST_VARIABLES: Final = ("PYTEST_ADDOPTS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD", "PYTEST_PLUGINS")
# https://docs.pytest.org/en/stable/reference/customize.html
_PYTEST_FILES: Final = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini",
                        "setup.cfg")  # fmt: skip


def pytest_plugins() -> list[str]:
    """The distributions whose plugins pytest loads by itself."""
    points = importlib.metadata.entry_points(group="pytest11")
    return sorted({point.dist.name for point in points if point.dist is not None})


def suite_part(experiment: Experiment, places: Places) -> Part:
    """The inputs of the suite; where it is disabled, that alone.

    Raises:
        OSError: a file cannot be read.
    """
    config = experiment.pipeline.tests
    if not config.enabled or config.path is None:
        return Part({"tests.enabled": False}, {})
    settings: dict[str, Any] = {
        "tests.enabled": True,
        "tests.path": places.name(config.path, "tests.path"),
        "tests.markers": config.markers,
        "tests.args": config.args or None,
        "tests.inputs": [places.name(path, f"tests.inputs.{index}") for index, path in enumerate(config.inputs)]
        or None,
    }
    settings |= {f"environment {name}": os.environ.get(name) for name in _PYTEST_VARIABLES}
    files: dict[str, str | None] = {}
    for path in _pytest_files(places, folder_of(config.path)):
        files[places.name(path, "tests.path")] = hash_of(path)
    outputs = _outputs(experiment)
    for key, path in _named_by_suite(experiment):
        files |= _tree(path, key, places, outputs)
    return Part(settings, files)


def _named_by_suite(experiment: Experiment) -> Iterator[tuple[str, Path]]:
    """Key and place of what the section `tests` names; a pattern stands for all that match it now."""
    config = experiment.pipeline.tests
    if config.path is not None:
        yield "tests.path", config.path
    for index, path in enumerate(config.inputs):
        yield from ((f"tests.inputs.{index}", match) for match in matching(path))


def _tree(path: Path, key: str, places: Places, outputs: Sequence[Path]) -> dict[str, str | None]:
    """The files at and below `path`, but for those that tools, Thinker and training leave there."""
    if not path.is_dir():
        return {places.name(path, key): hash_of(path)}

    def left_out(entry: Path) -> bool:
        return places.is_left_out(entry) or entry in outputs

    return {places.name(path / name, key): sha256 for name, sha256 in tree_hashes(path, left_out=left_out).items()}


def _outputs(experiment: Experiment) -> list[Path]:
    evaluation = experiment.pipeline.evaluation
    places = [experiment.checkpoint_dir, evaluation.output_path if evaluation else None]
    return [place for place in places if place is not None]


def _pytest_files(places: Places, folder: Path) -> Iterator[Path]:
    """Configuration files of pytest, and `conftest.py`, from the suite's folder up to the project's root."""
    for above in (folder, *folder.parents):
        yield from (above / name for name in (*_PYTEST_FILES, "conftest.py") if (above / name).is_file())
        if above == places.root or not above.is_relative_to(places.root):
            return
