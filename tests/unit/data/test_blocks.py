"""Blocks of whole lines, and the hash of all bytes."""

import hashlib
import itertools
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.compressed import compress

from thinker.data.blocks import BLOCK_BYTES, HashedBlocks
from thinker.errors import DataError


def write(folder: Path, content: bytes, name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@settings(max_examples=200, deadline=None)
@given(content=st.text("ab\n\r", max_size=60).map(str.encode), block_bytes=st.integers(1, 20))
def test_blocks_are_the_text_cut_where_lines_end(tmp_path_factory, content: bytes, block_bytes: int) -> None:
    path = write(tmp_path_factory.mktemp("blocks"), content)
    with HashedBlocks(path, block_bytes) as blocks:
        found = list(blocks)
    assert b"".join(found) == content
    assert all(found)
    assert all(block.endswith(b"\n") for block in found[:-1])
    assert (blocks.size_bytes, blocks.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    longest = max(map(len, content.split(b"\n")), default=0)
    assert all(len(block) <= block_bytes + longest for block in found)


def test_a_line_far_longer_than_a_block_is_one_block(tmp_path: Path) -> None:
    line = b"x" * 50_000_000
    with HashedBlocks(write(tmp_path, b"a\n" + line + b"\nb")) as blocks:
        assert [len(block) for block in blocks] == [2, len(line) + 1, 1]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_the_blocks_of_a_compressed_file_are_text_and_the_hash_is_that_of_the_file(tmp_path: Path, suffix: str) -> None:
    text = b"".join(b"line %d\n" % number for number in range(100_000))
    packed = compress(text, suffix)
    with HashedBlocks(write(tmp_path, packed, f"rows.jsonl{suffix}")) as blocks:
        found = list(blocks)
    assert b"".join(found) == text
    assert all(block.endswith(b"\n") for block in found)
    assert (blocks.size_bytes, blocks.sha256) == (len(packed), hashlib.sha256(packed).hexdigest())


def test_drain_hashes_the_rest_unseen(tmp_path: Path) -> None:
    content = b"line\n" * 500_000
    with HashedBlocks(write(tmp_path, content)) as blocks:
        assert len(next(iter(blocks))) <= BLOCK_BYTES
        with pytest.raises(RuntimeError, match="drain"):
            _ = blocks.sha256
        blocks.drain()
        assert list(blocks) == []
    assert (blocks.size_bytes, blocks.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_a_file_left_in_the_middle_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    with HashedBlocks(write(tmp_path, b"line\n" * 500_000)) as blocks:
        for _ in itertools.islice(blocks, 2):
            pass
    assert threading.active_count() == before


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_what_cannot_be_read_is_told_with_its_path(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(DataError, match=f"cannot read {path}"), HashedBlocks(path) as blocks:
        list(blocks)


def test_a_compressed_file_that_is_cut_off_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, compress(b"line\n" * 1000, ".gz")[:-9], "rows.jsonl.gz")
    with pytest.raises(DataError, match="cut off"), HashedBlocks(path) as blocks:
        list(blocks)
