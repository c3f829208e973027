"""Decompressing while reading: any file in, the text or a message out, in bounded memory."""

import random
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.compressed import compress, zstd

from thinker.data.compression import Decompressor, decompressor_for
from thinker.errors import DataError, PreconditionError

SUFFIXES = [".gz", ".zst"]
SKIPPABLE = b"\x5a\x2a\x4d\x18\x03\x00\x00\x00abc"  # RFC 8878, 3.1.2
both = pytest.mark.parametrize("suffix", SUFFIXES)


def decompressor(suffix: str) -> Decompressor:
    found = decompressor_for(Path(f"rows.jsonl{suffix}"))
    assert found is not None
    return found


def text_of(content: bytes, suffix: str, step: int = 1 << 20) -> bytes:
    machine = decompressor(suffix)
    text = b"".join(
        piece for start in range(0, len(content), step) for piece in machine.feed(content[start : start + step])
    )
    machine.finish()
    return text


def error_of(content: bytes, suffix: str) -> str:
    with pytest.raises(DataError) as caught:
        text_of(content, suffix)
    return str(caught.value)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows", "gz", "rows.gz.jsonl", "rows.zip"])
def test_other_files_are_plain(name: str) -> None:
    assert decompressor_for(Path(name)) is None


@pytest.mark.parametrize("name", ["rows.gz", "ROWS.JSONL.GZ", "rows.zst", "rows.Zst"])
def test_the_suffix_decides_in_any_case(name: str) -> None:
    assert decompressor_for(Path(name)) is not None


@both
@given(texts=st.lists(st.binary(max_size=50), min_size=1, max_size=4), step=st.integers(1, 80))
def test_the_members_of_a_file_are_one_text_however_they_are_fed(suffix: str, texts: list[bytes], step: int) -> None:
    content = b"".join(compress(text, suffix) for text in texts)
    assert text_of(content, suffix, step) == b"".join(texts)


@both
def test_a_text_longer_than_many_pieces_comes_back(suffix: str) -> None:
    text = random.Random(3).randbytes(700_000) + b"row\n" * 1_000_000
    assert text_of(compress(text, suffix) + compress(b"end", suffix), suffix) == text + b"end"


def test_frames_that_say_they_are_to_be_skipped_are_skipped() -> None:
    content = SKIPPABLE + compress(b"one", ".zst") + SKIPPABLE + compress(b"two", ".zst") + SKIPPABLE
    assert text_of(content, ".zst") == text_of(content, ".zst", step=1) == b"onetwo"


@both
def test_a_bomb_expands_a_piece_at_a_time(suffix: str) -> None:
    size = 100_000_000
    content = compress(bytes(size), suffix)
    assert len(content) < size // 900
    machine = decompressor(suffix)
    tracemalloc.start()
    longest = total = 0
    for piece in machine.feed(content):
        longest, total = max(longest, len(piece)), total + len(piece)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    machine.finish()
    assert total == size
    assert longest <= 1 << 18
    assert peak_bytes < 1 << 20


@both
def test_a_file_cut_off_anywhere_is_refused(suffix: str) -> None:
    content = compress(b'{"prompt": "a"}\n' * 3, suffix)
    for length in range(1, len(content)):
        assert "is cut off" in error_of(content[:length], suffix), length
        assert "is cut off" in error_of(content + content[:length], suffix), length


@both
def test_an_empty_file_is_no_compressed_file(suffix: str) -> None:
    assert error_of(b"", suffix).startswith(f"rows.jsonl{suffix} is empty")


@both
def test_an_empty_text_is_one(suffix: str) -> None:
    assert text_of(compress(b"", suffix), suffix) == b""


@both
def test_a_wrong_checksum_is_told_with_place_and_advice(suffix: str) -> None:
    content = bytearray(compress(bytes(range(256)) * 4, suffix))
    content[-5 if suffix == ".gz" else -1] ^= 1  # gzip's size of the text comes after its checksum
    message = error_of(bytes(content), suffix)
    assert message.startswith(f"rows.jsonl{suffix}: the ")
    assert "cannot be decompressed past " in message
    assert "check" in message
    assert message.endswith("make the file again, or copy it anew")


@both
def test_one_flipped_bit_never_goes_unnoticed(suffix: str) -> None:
    text = b'{"prompt": "What is the capital of France?", "completion": "Paris"}\n' * 2
    content = compress(text, suffix)
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            found = text_of(bytes(damaged), suffix)
        except DataError:
            continue
        assert found == text, bit  # gzip's header says things that do not matter here


@both
@pytest.mark.parametrize("garbage", [b"x", b"\0", b"\n", b"rest of another file"])
def test_what_follows_the_last_member_is_not_ignored(suffix: str, garbage: bytes) -> None:
    message = error_of(compress(b"1234\n", suffix) + garbage, suffix)
    assert "goes on after the end of its" in message
    assert "5 bytes of text" in message


@both
def test_plain_text_under_a_compressed_name_is_told_as_such(suffix: str) -> None:
    message = error_of(b'{"prompt": "a"}\n', suffix)
    assert f"if it is plain text, take {suffix} off its name" in message


def test_a_window_larger_than_the_format_recommends_is_refused() -> None:
    machine = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 28})
    content = machine.compress(b"a" * 1000) + machine.flush()
    assert "too much memory" in error_of(content, ".zst")


def test_without_the_package_a_zst_file_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, zstd.__name__, None)
    with pytest.raises(PreconditionError, match=r"rows\.jsonl\.zst: reading \.zst needs .* pip install '\.\[zstd\]'"):
        decompressor_for(Path("rows.jsonl.zst"))
    assert decompressor_for(Path("rows.jsonl.gz")) is not None
