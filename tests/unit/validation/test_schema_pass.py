"""However the work is cut and shared out, the verdict is that of reading one line after the other."""

import dataclasses
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.random_schemas import rows, schemas
from support.slow_schema_pass import facts, slow_schema_pass

from thinker.config.pipeline_models import SchemaField
from thinker.data.dataset_files import DatasetFiles, combined_sha256
from thinker.errors import DataError
from thinker.validation import DatasetValidator, codes
from thinker.validation.block_checks import verdicts
from thinker.validation.dataset_blocks import DatasetBlocks, PlacedBlock
from thinker.validation.fast_rows import FastRows
from thinker.validation.report import Report
from thinker.validation.schema_pass import SchemaPass

SCHEMA = (SchemaField("prompt", "string"), SchemaField("n", "integer", required=False, max=10))
SPOILT = [
    b"", b"  \t", b"[1]", b'{"a": 1', b'{"a": NaN}', b'{"a": 1e999}', b'{"a": "\xff"}', b'{"a": "\\ud800"}',
    b'{"a": ' + b"[" * 150 + b"]" * 150 + b"}", b'{"a": 1, "a": 2}', b"\xef\xbb\xbf{}", b"\r", b"null",
]  # fmt: skip
lines = rows.map(lambda row: json.dumps(row).encode()) | st.sampled_from(SPOILT)
contents = st.tuples(
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.lists(st.tuples(lines, st.sampled_from([b"\n", b"\r\n"])).map(b"".join), max_size=6).map(b"".join),
    st.just(b"") | lines,
).map(b"".join)


def write(folder: Path, *parts: bytes) -> DatasetFiles:
    paths = []
    for number, content in enumerate(parts):
        paths.append(folder / f"part-{number}.jsonl")
        paths[-1].write_bytes(content)
    return DatasetFiles.of(paths)


@settings(max_examples=300, deadline=None)
@given(
    schema=schemas,
    parts=st.lists(contents, min_size=1, max_size=3),
    max_examples=st.none() | st.integers(1, 5),
    block_bytes=st.integers(1, 200),
)
def test_the_verdict_is_that_of_the_slow_pass(
    schema: list[SchemaField], parts: list[bytes], max_examples: int | None, block_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = write(Path(folder), *parts)
        expected = slow_schema_pass(files, schema, max_examples=max_examples)
        assert facts(DatasetValidator(files, schema, max_examples=max_examples).validate()) == expected
        report = Report(files, codes.levels({}))
        check = SchemaPass(schema, report, max_examples)
        with DatasetBlocks(files, block_bytes) as blocks:
            check.run(blocks, workers=0)
            blocks.drain()
    in_file_order = [dataclasses.astuple(problem) for problem in report.errors]
    assert in_file_order == [problem for problem in expected["errors"] if problem[0] != "THK-DATA-040"]
    assert (check.rows, check.blank_lines, check.complete) == (
        expected["rows"],
        expected["blank_lines"],
        expected["complete"],
    )
    assert combined_sha256([content.sha256 for content in blocks.contents]) == expected["sha256"]


def test_problems_name_the_file_and_lines_start_anew_in_each(tmp_path: Path) -> None:
    files = write(tmp_path, b'{"prompt": "p"}\n{}', b"", b'\xef\xbb\xbf{"prompt": "p"}\n\n{"prompt": 1}\n')
    result = DatasetValidator(files, SCHEMA).validate()
    found = [(Path(each.file).name, each.line, each.rule) for log in (result.errors, result.warnings) for each in log]
    assert found == [
        ("part-0.jsonl", 2, "missing"),
        ("part-2.jsonl", 3, "type"),
        ("part-2.jsonl", 1, "byte-order-mark"),
        ("part-2.jsonl", 2, "blank-line"),
    ]
    assert (result.rows, result.files, result.sha256) == (4, files, files.sha256())
    with pytest.raises(DataError, match=r"3 files: 2 errors, the first: part-0\.jsonl:2"):
        result.raise_if_failed()


def test_unique_values_are_compared_across_files(tmp_path: Path) -> None:
    files = write(tmp_path, b'{"id": 1}\n', b'{"id": 2}\n{"id": 1.0}\n')
    result = DatasetValidator(files, (SchemaField("id", "integer", unique=True),)).validate()
    assert [(Path(each.file).name, each.line, each.message) for each in result.errors] == [
        ("part-1.jsonl", 2, "same value as in line 1")
    ]


def test_no_row_in_any_file_is_an_error_and_a_file_without_rows_is_none(tmp_path: Path) -> None:
    assert [each.rule for each in DatasetValidator(write(tmp_path, b"", b""), SCHEMA).validate().errors] == ["no-rows"]
    assert DatasetValidator(write(tmp_path, b"", b'{"prompt": "p"}'), SCHEMA).validate().ok


def large(seed: int, megabytes: int = 8) -> bytes:
    """Rows of which about one in a thousand is spoilt, and some are longer than a block."""
    chance = random.Random(seed)
    pieces: list[bytes] = []
    size = 0
    while size < megabytes << 20:
        text = "é" * 700_000 if chance.random() < 1e-4 else "p" * chance.randrange(1, 1500)
        line = json.dumps({"prompt": text, "n": chance.randrange(10)}, ensure_ascii=False).encode()
        if chance.random() < 1e-3:
            line = chance.choice([*SPOILT, b'{"prompt": ""}', b'{"prompt": "p", "n": 11}'])
        pieces.append(line)
        size += len(line)
    return b"\n".join(pieces)


@pytest.fixture
def _temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.usefixtures("_temporary_folder")
class TestWorkers:
    @pytest.mark.parametrize("max_examples", [None, 9000])
    def test_the_verdict_does_not_depend_on_them(self, tmp_path: Path, max_examples: int | None) -> None:
        files = write(tmp_path, large(1), large(2, 4), b"", large(3, 1))
        expected = slow_schema_pass(files, SCHEMA, max_examples=max_examples)
        assert len(expected["errors"]) > 5
        for workers in (0, 1, 3):
            result = DatasetValidator(files, SCHEMA, max_examples=max_examples, workers=workers).validate()
            assert facts(result) == expected, workers
        assert not psutil.Process().children()

    def test_they_take_part(self, tmp_path: Path) -> None:
        taken = []

        class Watched(FastRows):
            def verdict(self, block: bytes) -> Any:
                taken.append(block)
                return super().verdict(block)

        rows_ = Watched.of_fields(SCHEMA)
        with DatasetBlocks(write(tmp_path, large(1))) as blocks:
            found = list(verdicts(slowly(blocks), rows_, SCHEMA, 1))
        assert len(taken) < len(found)

    @pytest.mark.parametrize(
        ("executable", "told"), [("/no/such/python", "fewer processes"), ("/bin/false", "exit code 1")]
    )
    def test_one_that_cannot_start_is_told_and_does_no_harm(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        executable: str,
        told: str,
    ) -> None:
        monkeypatch.setattr(sys, "executable", executable)
        rows_ = FastRows.of_fields(SCHEMA)
        with DatasetBlocks(write(tmp_path, large(1, 2))) as blocks, caplog.at_level(logging.WARNING, "thinker"):
            found = list(verdicts(slowly(blocks), rows_, SCHEMA, 1))
        assert [verdict for _, verdict in found] == [rows_.verdict(block.data) for block, _ in found]
        assert caplog.text.count(told) == 1

    def test_the_work_of_one_that_is_killed_is_done_again(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        def killing(blocks: DatasetBlocks) -> Iterator[PlacedBlock]:
            for number, block in enumerate(slowly(blocks)):
                yield block
                if number == 20:
                    for child in psutil.Process().children():
                        child.kill()

        rows_ = FastRows.of_fields(SCHEMA)
        with DatasetBlocks(write(tmp_path, large(1))) as blocks, caplog.at_level(logging.WARNING, "thinker"):
            found = list(verdicts(killing(blocks), rows_, SCHEMA, 2))
        for block, verdict in found:
            assert rows_.verdict(block.data) == verdict
        assert caplog.text.count("ended early (exit code -9)") == 2
        assert not psutil.Process().children()

    def test_an_interrupt_leaves_none_behind(self, tmp_path: Path) -> None:
        def interrupted(blocks: DatasetBlocks) -> Iterator[PlacedBlock]:
            for number, block in enumerate(slowly(blocks)):
                yield block
                if number == 10:
                    assert psutil.Process().children()
                    raise KeyboardInterrupt

        files = write(tmp_path, large(1))
        check = SchemaPass(SCHEMA, Report(files, codes.levels({})), None)
        with DatasetBlocks(files) as blocks, pytest.raises(KeyboardInterrupt):
            check.run(interrupted(blocks), workers=2)
        assert not psutil.Process().children()


def slowly(blocks: DatasetBlocks) -> Iterator[PlacedBlock]:
    """The blocks, once the workers are there, or have ended."""
    for number, block in enumerate(blocks):
        if number == 2:
            memory = Path(tempfile.gettempdir())
            deadline = time.monotonic() + 30
            while any(memory.glob("thinker-blocks-*")) and any(map(is_running, psutil.Process().children())):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            time.sleep(0.1)
        yield block


def is_running(process: psutil.Process) -> bool:
    return bool(process.status() != psutil.STATUS_ZOMBIE)


SCRIPT = """\
import sys
import time
from pathlib import Path

from thinker.config.pipeline_models import SchemaField
from thinker.validation import DatasetValidator, dataset

if "wait" in sys.argv:
    def wait(blocks, size_bytes):
        yield next(iter(blocks))
        time.sleep(0.5)
        print("waiting", flush=True)
        time.sleep(60)

    dataset._with_progress = wait

result = DatasetValidator(Path("rows.jsonl"), [SchemaField("prompt", "string")], workers=2).validate()
print(result.rows, result.ok)
"""


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    (folder / "rows.jsonl").write_bytes(b'{"prompt": "p"}\n' * 400_000)
    (folder / "script.py").write_text(SCRIPT)
    # A module of the project's must not come into a worker in place of the one it means.
    (folder / "json.py").write_text("raise SystemExit('not this one')")
    return subprocess.Popen(
        [sys.executable, "-P", "script.py", *arguments],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_worker_imports_little() -> None:
    # What was there before, a tracer for coverage among it, is not the worker's.
    code = "import sys; b = set(sys.modules); import thinker.validation.worker; print(*set(sys.modules) - b)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "thinker.validation.worker" in loaded
    assert not {"dataclasses", "logging", "pydantic", "subprocess", "thinker.config", "thinker.data"} & set(loaded)


def test_a_script_needs_no_main_guard_and_nothing_else_is_printed(tmp_path: Path) -> None:
    output, errors = start(tmp_path).communicate(timeout=60)
    assert (output, errors) == ("400000 True\n", "")


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_survives_the_end_of_the_one_that_started_it(tmp_path: Path, end: signal.Signals) -> None:
    process = start(tmp_path, "wait")
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    workers = psutil.Process(process.pid).children()
    assert len(workers) == 2
    assert all(os.getsid(worker.pid) != os.getsid(process.pid) for worker in workers)  # Ctrl-C is not for them
    process.send_signal(end)
    _, errors = process.communicate(timeout=20)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive
    assert errors.count("Traceback") == (1 if end == signal.SIGINT else 0)
    assert not list(tmp_path.glob("thinker-*"))
