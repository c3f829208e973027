"""Several files read as one dataset, whose hash stands for all their bytes."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from support.compressed import compress

from thinker.data.dataset_files import DatasetFiles, combined_sha256
from thinker.data.jsonl import DataRow
from thinker.errors import DataError

CHANGED = "changed after it was checked; run `thinker validate` again"


@pytest.fixture
def dataset(tmp_path: Path) -> DatasetFiles:
    """Rows 0 and 1 in a compressed file, none in the next, row 2 in a plain one."""
    contents = {
        "b.jsonl.gz": compress(b'{"a": 0}\n\n{"a": 1}\n', ".gz"),
        "c.jsonl": b"\n",
        "a.jsonl": b'\xef\xbb\xbf{"a": 2}',
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return DatasetFiles.of([tmp_path / name for name in contents])


def values(dataset: DatasetFiles, **options: object) -> list[int]:
    return [row.value["a"] for row in dataset.rows(**options)]  # type: ignore[arg-type]


def test_rows_come_in_the_order_of_the_files_and_carry_file_and_line(dataset: DatasetFiles) -> None:
    first, _, last = dataset.paths
    assert list(dataset.rows()) == [
        DataRow(1, {"a": 0}, first), DataRow(3, {"a": 1}, first), DataRow(1, {"a": 2}, last)
    ]  # fmt: skip


def test_rows_are_numbered_through_all_files_broken_ones_included(dataset: DatasetFiles) -> None:
    dataset.paths[1].write_bytes(b"nonsense\n")
    found = [(row.number, row.file, row.raw.number, row.parsed.value is None) for row in dataset.parsed()]
    first, second, last = dataset.paths
    assert found == [(0, first, 1, False), (1, first, 3, False), (2, second, 1, True), (3, last, 1, False)]


@pytest.mark.parametrize("cap", [1, 2, 3, 4])
def test_the_cap_counts_over_all_files(dataset: DatasetFiles, cap: int) -> None:
    assert values(dataset, max_examples=cap, expected_sha256=dataset.sha256()) == [0, 1, 2][:cap]


def test_the_cap_leaves_out_rows_but_not_bytes(dataset: DatasetFiles) -> None:
    checked = dataset.sha256()
    dataset.paths[2].write_bytes(b"nonsense")
    assert values(dataset, max_examples=2) == [0, 1]
    with pytest.raises(DataError, match=CHANGED):
        values(dataset, max_examples=2, expected_sha256=checked)


def test_one_file_has_the_hash_of_its_bytes(dataset: DatasetFiles) -> None:
    path = dataset.paths[0]
    assert DatasetFiles.of(path).sha256() == hashlib.sha256(path.read_bytes()).hexdigest()


def test_several_files_have_a_hash_of_their_contents_number_and_order(dataset: DatasetFiles) -> None:
    one, two, three = (hashlib.sha256(path.read_bytes()).hexdigest() for path in dataset.paths)
    assert dataset.sha256() == combined_sha256([one, two, three])
    others = ([one], [one, two], [two, one], [one, two, two])
    assert len({combined_sha256(hashes) for hashes in others}) == len(others)


def test_names_and_folders_do_not_count(dataset: DatasetFiles, tmp_path: Path) -> None:
    before = dataset.sha256()
    (tmp_path / "elsewhere").mkdir()
    moved = [path.rename(tmp_path / "elsewhere" / f"moved-{path.name}") for path in dataset.paths]
    assert DatasetFiles.of(moved).sha256() == before


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_change_in_any_file_is_refused_at_the_end(dataset: DatasetFiles, index: int) -> None:
    checked = dataset.sha256()
    texts = [compress(b'{"a": 0}\n{"a": 1}\n', ".gz"), b"\n\n", b'{"a": 3}']
    dataset.paths[index].write_bytes(texts[index])
    with pytest.raises(DataError, match=CHANGED):
        values(dataset, expected_sha256=checked)


@pytest.mark.parametrize(
    "change",
    [
        lambda paths: paths[2].write_bytes(b"nonsense"),
        lambda paths: paths[0].write_bytes(paths[0].read_bytes()[:-1]),
        lambda paths: paths[0].write_bytes(b""),
    ],
)
def test_a_file_that_changed_into_nonsense_is_told_as_changed(
    dataset: DatasetFiles, change: Callable[[tuple[Path, ...]], object]
) -> None:
    checked = dataset.sha256()
    change(dataset.paths)
    with pytest.raises(DataError, match=CHANGED):
        values(dataset, expected_sha256=checked)


def test_a_line_that_is_no_row_is_told_with_its_own_file_and_line(dataset: DatasetFiles) -> None:
    dataset.paths[2].write_bytes(b'{"a": 2}\n{"a": NaN}\n')
    with pytest.raises(DataError, match=r"/a\.jsonl:2: a: NaN is not a JSON number \(THK-DATA-003\); mend the line"):
        values(dataset, expected_sha256=dataset.sha256())


def test_a_damaged_file_that_did_not_change_is_told_as_damaged(dataset: DatasetFiles) -> None:
    path = dataset.paths[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"b\.jsonl\.gz is cut off"):
        values(dataset, expected_sha256=dataset.sha256())


def test_a_message_names_one_file_or_the_first_and_how_many_more(dataset: DatasetFiles) -> None:
    assert str(DatasetFiles.of(dataset.paths[0])) == str(dataset.paths[0])
    assert str(dataset) == f"{dataset.paths[0]} and 2 more"
