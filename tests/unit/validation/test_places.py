from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import thinker
from thinker.hashing import sha256_file
from thinker.validation.places import Places


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with a pipeline file in `exp`, and data outside of it in `elsewhere`."""
    for name in ("repo/.git/HEAD", "repo/conftest.py", "repo/exp/pipeline.yaml", "repo/exp/data/train.jsonl",
                 "elsewhere/claims/claims.jsonl", "elsewhere/claims/more/corpus.jsonl"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def places_in(root: Path) -> Places:
    return Places(
        root / "repo/exp/pipeline.yaml",
        {"evaluation.claims_file": root / "elsewhere/claims"},
        left_out=[root / "repo/exp/runs"],
    )


NAMES = {
    "repo/exp/data/train.jsonl": "data/train.jsonl",
    "repo/conftest.py": "../conftest.py",
    "elsewhere/claims/claims.jsonl": "evaluation.claims_file:claims.jsonl",
    "elsewhere/claims/more/corpus.jsonl": "evaluation.claims_file:more/corpus.jsonl",
}


@pytest.mark.parametrize(("path", "name"), NAMES.items())
def test_a_name_is_the_same_wherever_the_project_lies_and_leads_back(root: Path, path: str, name: str) -> None:
    moved = shutil.copytree(root, root.parent / f"{root.name}-moved")
    for place in (root, moved):
        assert places_in(place).name_if_ours(place / path) == name
        assert places_in(place).path(name) == place / path
        assert places_in(place).content(name) == sha256_file(place / path)


@pytest.mark.parametrize(
    "path",
    ["elsewhere/other.txt", "repo/.git/HEAD", "repo/exp/runs/run.json", "repo/exp/.thinker/cache/x",
     "repo/exp/__pycache__/a.pyc", "repo/.venv/lib/module.py", "repo/exp/venv/lib/site-packages/module.py",
     "repo/.pytest_cache/v/cache/nodeids", "repo/exp/.coverage", "repo/.coverage.host.1"],
)  # fmt: skip
def test_what_is_not_the_projects_has_no_name(root: Path, path: str) -> None:
    assert places_in(root).name_if_ours(root / path) is None


@pytest.mark.parametrize("path", [Path(thinker.__file__), Path(pytest.__file__), Path(shutil.__file__)])
def test_installed_code_is_not_the_projects(root: Path, path: Path) -> None:
    assert places_in(root).name_if_ours(path) is None


def test_a_hidden_file_is_the_projects_if_no_tool_keeps_it(root: Path) -> None:
    assert places_in(root).name_if_ours(root / "repo/exp/.data/rows.jsonl") == ".data/rows.jsonl"


def test_a_project_in_a_folder_that_tools_use_is_a_project_all_the_same(tmp_path: Path) -> None:
    folder = tmp_path / ".cache/site-packages/exp"
    folder.mkdir(parents=True)
    assert Places(folder / "pipeline.yaml").name_if_ours(folder / "data.jsonl") == "data.jsonl"


def test_what_holds_the_whole_project_cannot_be_left_out_of_it(tmp_path: Path) -> None:
    """As with `runs_dir: .`, or a virtual environment made in the project's own folder."""
    places = Places(tmp_path / "pipeline.yaml", left_out=[tmp_path])
    assert places.name_if_ours(tmp_path / "data.jsonl") == "data.jsonl"


def test_without_a_repository_the_folder_of_the_pipeline_file_is_the_project(tmp_path: Path) -> None:
    (tmp_path / "exp").mkdir()
    places = Places(tmp_path / "exp/pipeline.yaml")
    assert places.name_if_ours(tmp_path / "exp/data.jsonl") == "data.jsonl"
    assert places.name_if_ours(tmp_path / "data.jsonl") is None


def test_a_link_from_outside_into_the_project_is_the_projects_file(root: Path) -> None:
    (root / "link").symlink_to(root / "repo/exp")
    assert places_in(root).name_if_ours(root / "link/data/train.jsonl") == "data/train.jsonl"


def test_a_link_within_the_project_keeps_its_own_name(root: Path) -> None:
    (root / "repo/exp/shared").symlink_to(root / "elsewhere")
    assert places_in(root).name_if_ours(root / "repo/exp/shared/other.txt") == "shared/other.txt"


def test_a_folders_content_is_the_names_in_it_without_what_tools_leave(root: Path) -> None:
    places = places_in(root)
    before = places.content("data/")
    (root / "repo/exp/data/train.jsonl").write_text("other")
    (root / "repo/exp/data/__pycache__").mkdir()
    (root / "repo/exp/data/.hidden").mkdir()
    assert places.content("data/") == before
    (root / "repo/exp/data/new.jsonl").write_text("")
    assert places.content("data/") != before


def test_what_is_not_there_has_no_content(root: Path) -> None:
    assert places_in(root).content("data/gone.jsonl") is None
    assert places_in(root).content("gone/") is None


def test_a_name_that_is_no_text_can_stand_in_json(root: Path) -> None:
    path = Path(str(root / "repo/exp") + "/b\udcffd.txt")
    assert places_in(root).name_if_ours(path) == "b\\udcffd.txt"


def test_no_two_files_have_one_name(root: Path) -> None:
    places = places_in(root)
    paths = [root / "elsewhere/claims/claims.jsonl", root / "other/claims.jsonl", root / "third/claims.jsonl"]
    assert len({places.name(path, "evaluation.claims_file") for path in paths}) == 3
