"""A dataset named by paths, patterns and lists, in either file."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path
from typing import Any

import pytest
from config_project import Project

from thinker.config.fingerprint import config_fingerprint

ONE = "  path: data.jsonl\n"


@pytest.fixture
def parts(project: Project) -> Project:
    """Five files that patterns may match; the pipeline file alone names the dataset."""
    project.lora("  train_file: null\n", "  train_file: data.jsonl\n")
    for name in ("p-10.jsonl", "p-2.jsonl", "p-1.jsonl.gz", "sub/p-3.jsonl", "sub/deep/p-4.jsonl"):
        project.write(f"parts/{name}", f"{name}\n")
    return project


def files(project: Project, value: str, **options: Any) -> list[str]:
    """The dataset's files, from the project's folder, where `data_validation.path` is `value`."""
    project.pipeline(f"  path: {value}\n", ONE)
    try:
        root = project.root.resolve()
        return [path.relative_to(root).as_posix() for path in project.load(**options).dataset.paths]
    finally:
        project.pipeline(ONE, f"  path: {value}\n")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("parts/p-2.jsonl", ["parts/p-2.jsonl"]),
        ("parts/p-*", ["parts/p-1.jsonl.gz", "parts/p-10.jsonl", "parts/p-2.jsonl"]),
        ("parts/p-?.jsonl", ["parts/p-2.jsonl"]),
        ("parts/p-[0-1]*.jsonl*", ["parts/p-1.jsonl.gz", "parts/p-10.jsonl"]),
        ("./suite/../parts/*.gz", ["parts/p-1.jsonl.gz"]),
        ("parts/**/p-[34].jsonl", ["parts/sub/deep/p-4.jsonl", "parts/sub/p-3.jsonl"]),
        ("parts/**", ["parts/p-1.jsonl.gz", "parts/p-10.jsonl", "parts/p-2.jsonl",
                      "parts/sub/deep/p-4.jsonl", "parts/sub/p-3.jsonl"]),
        ("[parts/p-2.jsonl, data.jsonl]", ["parts/p-2.jsonl", "data.jsonl"]),
        ("[parts/sub/*.jsonl, parts/*.jsonl]", ["parts/sub/p-3.jsonl", "parts/p-10.jsonl", "parts/p-2.jsonl"]),
    ],
)  # fmt: skip
def test_files_stand_in_list_order_and_sorted_within_a_pattern(parts: Project, value: str, expected: list[str]) -> None:
    assert files(parts, value) == expected


def test_both_files_name_datasets_alike(parts: Project) -> None:
    parts.pipeline("  path: null\n", ONE)
    parts.lora("  train_file: [data.jsonl, parts/p-?.jsonl]\n", "  train_file: null\n")
    experiment = parts.load()
    root = parts.root.resolve()
    assert experiment.dataset.paths == (root / "data.jsonl", root / "parts/p-2.jsonl")
    assert experiment.pipeline.data_validation.path == experiment.dataset.paths
    assert experiment.recipe is not None
    assert experiment.recipe.data.train_file == experiment.dataset.paths


def test_one_path_stays_one_path_in_the_models(project: Project) -> None:
    assert project.load().pipeline.data_validation.path == project.root.resolve() / "data.jsonl"


def test_folders_and_hidden_files_match_no_pattern(parts: Project) -> None:
    expected = files(parts, "parts/**")
    parts.write("parts/.hidden.jsonl", "")
    parts.write("parts/.checkpoints/p-9.jsonl", "")
    (parts.root / "parts/folder.jsonl").mkdir()
    assert files(parts, "parts/**") == expected


def test_a_pattern_without_a_match_is_an_error_with_its_place(parts: Project) -> None:
    parts.pipeline("  path: [data.jsonl, 'parts/*.csv', none.jsonl]\n", ONE)
    parts.lora("  train_file: parts/s*\n", "  train_file: null\n")  # a folder
    root = parts.root.resolve()
    assert parts.problems() == [
        f"pipeline.yaml:4:22: data_validation.path[1]: no file matches parts/*.csv (resolved: {root}/parts/*.csv)",
        f"pipeline.yaml:4:37: data_validation.path[2]: no such file: none.jsonl (resolved: {root}/none.jsonl)",
        f"lora.yaml:6:15: data.train_file: no file matches parts/s* (resolved: {root}/parts/s*)",
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[]", "4:9: data_validation.path: is empty; name at least one file"),
        ("['']", "4:10: data_validation.path[0]: is empty"),
        ("[data.jsonl, suite]", "4:22: data_validation.path[1]: is a folder, not a file: suite (resolved: "),
        ("3", "4:9: data_validation.path: expected a path or a list of paths, got the number 3"),
        ("[data.jsonl, 3]", "4:22: data_validation.path[1]: expected a path, got the number 3"),
        ("{a: b}", "4:9: data_validation.path: expected a path or a list of paths, got keys and values"),
    ],
)
def test_what_names_no_dataset_is_told_with_its_place(project: Project, value: str, message: str) -> None:
    project.pipeline(f"  path: {value}\n", ONE)
    assert f"pipeline.yaml:{message}" in project.problem("validate")


@pytest.mark.parametrize("name", ["set[1].jsonl", "what?.jsonl", "all*.jsonl"])
def test_a_pattern_that_is_a_files_own_name_means_that_file(parts: Project, name: str) -> None:
    parts.write(name, "")
    parts.write("set1.jsonl", "")
    parts.write("all-others.jsonl", "")
    assert files(parts, f"'{name}'") == [name]


def test_pattern_characters_in_the_folder_above_mean_themselves(tmp_path: Path) -> None:
    project = Project(tmp_path / "[a]*")
    assert files(project, "da*.jsonl", command="validate") == ["data.jsonl"]


def test_a_file_named_twice_is_read_once_with_a_warning(parts: Project, caplog: pytest.LogCaptureFixture) -> None:
    (parts.root / "link.jsonl").symlink_to("parts/p-2.jsonl")
    with caplog.at_level(logging.WARNING, logger="thinker"):
        found = files(parts, "[parts/p-2.jsonl, data.jsonl, 'parts/*.jsonl', link.jsonl, ./data.jsonl]")
    assert found == ["parts/p-2.jsonl", "data.jsonl", "parts/p-10.jsonl"]
    (warning,) = caplog.messages
    again = parts.root.resolve() / "parts/p-2.jsonl"
    assert warning == f"pipeline.yaml:4:9: data_validation.path: named more than once, read once: {again} and 2 more"


def test_a_link_keeps_its_name_which_says_how_to_read_it(parts: Project) -> None:
    parts.write("store/0a1b", "")
    for name in ("linked.jsonl.gz", "eval.jsonl.gz"):
        (parts.root / name).symlink_to("store/0a1b")
    parts.pipeline("  claims_file: eval.jsonl.gz\n", "  claims_file: claims.jsonl\n")
    assert files(parts, "linked*") == files(parts, "linked.jsonl.gz") == ["linked.jsonl.gz"]
    evaluation = parts.load().pipeline.evaluation
    assert evaluation is not None
    assert evaluation.claims_file == parts.root.resolve() / "eval.jsonl.gz"


def test_an_override_starts_from_the_current_folder(
    parts: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path.resolve() / "here"
    here.mkdir()
    for name in ("b.jsonl", "a.jsonl"):
        (here / name).write_text("")
    monkeypatch.chdir(here)
    loaded = parts.load(overrides=["pipeline.data_validation.path=./*.jsonl"])
    assert loaded.dataset.paths == (here / "a.jsonl", here / "b.jsonl")
    loaded = parts.load(overrides=[f"pipeline.data_validation.path=[b.jsonl, {parts.root}/data.jsonl]"])
    assert loaded.dataset.paths == (here / "b.jsonl", parts.root.resolve() / "data.jsonl")


def test_two_lists_of_the_same_contents_are_one_dataset(parts: Project) -> None:
    for name in ("p-10.jsonl", "p-2.jsonl"):
        parts.write(f"copies/{name}", f"{name}\n")
    parts.pipeline("  path: parts/*.jsonl\n", ONE)
    parts.lora("  train_file: copies/*\n", "  train_file: null\n")
    assert parts.load().dataset.paths[0] == parts.root.resolve() / "parts/p-10.jsonl"
    parts.lora("  train_file: [copies/p-2.jsonl, copies/p-10.jsonl]\n", "  train_file: copies/*\n")
    assert (
        "data_validation.path: 'parts/*.jsonl' is not the 'copies/p-2.jsonl, copies/p-10.jsonl' of data.train_file"
    ) in parts.problem()


@pytest.mark.parametrize("at", [0, 1])
def test_predictions_overwrite_none_of_the_files(parts: Project, at: int) -> None:
    parts.pipeline("  path: [data.jsonl, 'parts/*.jsonl']\n", ONE)
    name = ("parts/p-2.jsonl", "data.jsonl")[at]
    parts.pipeline(f"  corpus_file: corpus.jsonl\n  output_path: {name}\n", "  corpus_file: corpus.jsonl\n")
    assert "evaluation.output_path: would overwrite the input data_validation.path: " in parts.problem()


def test_predictions_overwrite_no_input_where_nothing_is_trained(parts: Project) -> None:
    parts.pipeline("", "training:\n  backend: hf_peft\n  config_path: lora.yaml\n")
    parts.pipeline("  corpus_file: corpus.jsonl\n  output_path: data.jsonl\n", "  corpus_file: corpus.jsonl\n")
    assert "would overwrite the input data_validation.path: " in parts.problem("eval")


def test_predictions_overwrite_no_file_that_a_link_names(parts: Project) -> None:
    (parts.root / "link.jsonl").symlink_to("parts/p-2.jsonl")
    parts.pipeline("  path: link.jsonl\n", ONE)
    parts.pipeline("  corpus_file: corpus.jsonl\n  output_path: parts/p-2.jsonl\n", "  corpus_file: corpus.jsonl\n")
    assert "would overwrite the input data_validation.path: " in parts.problem()


def test_the_adapter_does_not_go_beside_one_of_the_files(parts: Project) -> None:
    parts.pipeline("  path: [data.jsonl, parts/sub/p-3.jsonl]\n", ONE)
    parts.pipeline("", "  checkpoint_dir: out/adapter\n")
    parts.lora("  checkpoint_dir: parts/sub\n", "  checkpoint_dir: out/adapter\n")
    assert "output.checkpoint_dir: is the folder of p-3.jsonl; " in parts.problem()


class TestConfigFingerprint:
    def digest(self, project: Project, value: str) -> str:
        project.pipeline(f"  path: {value}\n", ONE)
        try:
            return config_fingerprint(project.load())
        finally:
            project.pipeline(ONE, f"  path: {value}\n")

    def test_names_and_the_way_they_are_written_do_not_count(self, parts: Project) -> None:
        for name in ("10", "2"):
            parts.write(f"copies/{name}", f"p-{name}.jsonl\n")
        written = ("parts/p-*.jsonl", "[parts/p-10.jsonl, parts/p-2.jsonl]", "copies/*")
        assert len({self.digest(parts, value) for value in written}) == 1
        assert self.digest(parts, "[data.jsonl]") == self.digest(parts, "data.jsonl")

    def test_content_number_and_order_count(self, parts: Project) -> None:
        found = {self.digest(parts, value) for value in ("parts/p-*.jsonl", "[parts/p-2.jsonl, parts/p-10.jsonl]")}
        found.add(self.digest(parts, "parts/p-10.jsonl"))
        parts.write("parts/p-2.jsonl", "other\n")
        found.add(self.digest(parts, "parts/p-*.jsonl"))
        assert len(found) == 4

    def test_compressed_bytes_are_what_counts(self, parts: Project) -> None:
        (parts.root / "parts/a.gz").write_bytes(gzip.compress(b"rows\n", mtime=1))
        (parts.root / "parts/b.gz").write_bytes(gzip.compress(b"rows\n", mtime=2))
        assert self.digest(parts, "parts/a.gz") != self.digest(parts, "parts/b.gz")
