"""The schema pass beside hashing alone and beside other validators, each in a fresh process, on the same files.

Run: make bench-validate, or python benchmarks/bench_validate.py [--big] [--only NAME ...] [--repeat N]

It writes some 0.7 GB to a temporary folder (--big: 6 GB; set TMPDIR to choose another): 500 MB of real SciFact claims,
converted, repeated with other ids, and a million rows of 90 bytes. Thinker and SHA-256 take turns, so that a busy
machine disturbs both alike, and the median of their ratios counts; of times the least counts. Peers that would take
minutes get the beginning of a file, and their figures are scaled by rate. `ratio` is Thinker's rows a second over the
peer's; `start` is what a process takes until it is ready to check, and in no other figure; `peak` adds up processes.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

PEERS_SCRIPT = Path(__file__).parent / "validate_peers.py"
SAMPLE_S = 0.02
SLICE_BYTES = 50_000_000


@dataclass(frozen=True)
class Peer:
    """A validator of validate_peers.py.

    Attributes:
        label: as printed.
        packages: what it takes.
        sliced: whether it gets the beginning of a file.
    """

    name: str
    label: str
    packages: tuple[str, ...] = ()
    sliced: bool = False


THINKER, SHA256 = Peer("thinker", "Thinker"), Peer("sha256", "hashlib.sha256 alone")
PEERS = (
    Peer("thinker-one-process", "Thinker, one process"),
    Peer("orjson+jsonschema-rs", "orjson + jsonschema-rs, one core", ("orjson", "jsonschema_rs")),
    Peer("duckdb", "DuckDB read_json", ("duckdb",)),
    Peer("datasets", "datasets load_dataset", ("datasets",)),
    Peer("pydantic", "pydantic validate_json", ("pydantic",)),
    Peer("jsonschema", "jsonschema (Python)", ("jsonschema",), sliced=True),
    Peer("pandera", "pandera", ("pandera", "pandas"), sliced=True),
    Peer("great-expectations", "Great Expectations", ("great_expectations", "pandas"), sliced=True),
)


@dataclass(frozen=True)
class Run:
    """One process that checked one file.

    Attributes:
        start_s: until it was ready to check.
        check_s: of the check alone.
        total_s: from start to end.
        peak_bytes: the most that each of its processes held, added up.
    """

    size_bytes: int
    rows: int
    start_s: float
    check_s: float
    total_s: float
    peak_bytes: int

    @property
    def bytes_per_s(self) -> float:
        """Of the check alone."""
        return self.size_bytes / self.check_s


def run(peer: Peer, path: Path, rows: int) -> Run:
    """Let `peer` check `path` in a process of its own.

    Raises:
        RuntimeError: it failed, or saw another number of rows.
    """
    command = [sys.executable, str(PEERS_SCRIPT), peer.name, str(path)]
    started, started_unix = time.perf_counter(), time.time()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        peaks = _peaks(process)
        output = process.communicate()[0]
        total_s = time.perf_counter() - started
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(errors.read().decode(errors="replace").strip().splitlines()[-1])
    answer: dict[str, Any] = json.loads(output)
    if answer["rows"] not in (rows, -1):
        raise RuntimeError(f"saw {answer['rows']} rows of {rows}")
    peaks[process.pid] = answer["peak_bytes"]
    start_s = answer["ready"] - started_unix
    return Run(path.stat().st_size, rows, start_s, answer["seconds"], total_s, sum(peaks.values()))


def _peaks(process: subprocess.Popen[bytes]) -> dict[int, int]:
    """The most memory that each process below `process` was seen to hold until it ended, in bytes."""
    peaks: dict[int, int] = {}
    top = psutil.Process(process.pid)
    while process.poll() is None:
        for child in top.children(recursive=True):
            try:
                peaks[child.pid] = max(peaks.get(child.pid, 0), child.memory_info().rss)
            except psutil.Error:  # it has just ended
                continue
        time.sleep(SAMPLE_S)
    return peaks


def write_large(path: Path, size_bytes: int) -> int:
    """Real SciFact claims, converted, again and again with other ids. Returns the rows."""
    from thinker.data.convert import convert_scifact

    source = Path(os.environ["THINKER_SCIFACT_DIR"])
    once = path.with_name("once.jsonl")
    convert_scifact(source / "claims_train.jsonl", source / "corpus.jsonl", once)
    claims = [json.loads(line) for line in once.read_text(encoding="utf-8").splitlines()]
    written = rows = 0
    with path.open("wb") as file:
        while written < size_bytes:
            for claim in claims:
                claim["metadata"]["claim_id"] = rows
                written += file.write(json.dumps(claim, ensure_ascii=False).encode() + b"\n")
                rows += 1
    return rows


def write_short(path: Path) -> int:
    """A million rows of 90 bytes. Returns the rows."""
    rows = 1_000_000
    with path.open("wb") as file:
        for number in range(rows):
            metadata = {"claim_id": 1_000_000 + number}
            row = {"prompt": f"Number {number:07} is:", "completion": "even", "metadata": metadata}
            file.write(json.dumps(row).encode() + b"\n")
    return rows


def write_beginning(path: Path, out: Path, size_bytes: int) -> int:
    """The first lines of `path`, as many as it takes for `size_bytes`. Returns them."""
    rows = written = 0
    with path.open("rb") as lines, out.open("wb") as file:
        for line in lines:
            written += file.write(line)
            rows += 1
            if written >= size_bytes:
                break
    return rows


def compare(label: str, path: Path, rows: int, *, repeat: int, only: list[str]) -> Run:
    """Print a table of all validators on one file. Returns Thinker's best run."""
    size_bytes = path.stat().st_size
    print(f"\n{label}: {size_bytes / 1e6:.0f} MB, {rows:,} rows of {size_bytes / rows:.0f} bytes\n")
    print(f"{'':32} {'check s':>9} {'MB/s':>6} {'rows/s':>12} {'ratio':>7} {'start s':>8} {'peak MB':>8}")
    pairs = [(run(THINKER, path, rows), run(SHA256, path, rows)) for _ in range(repeat)]
    ours, alone = (min(each, key=lambda found: found.check_s) for each in zip(*pairs, strict=True))
    _print_line(THINKER, ours, ours)
    _print_line(SHA256, alone, ours)
    beginning = path.with_name(f"beginning-{path.name}")
    beginning_rows = write_beginning(path, beginning, SLICE_BYTES)
    for peer in PEERS:
        if only and peer.name not in only:
            continue
        missing = [name for name in peer.packages if importlib.util.find_spec(name) is None]
        if missing:
            print(f"{peer.label:32} missing: {', '.join(missing)} cannot be imported (pip install -e '.[bench]')")
            continue
        where = (beginning, beginning_rows) if peer.sliced else (path, rows)
        try:
            found = min(_runs(peer, *where, repeat), key=lambda each: each.check_s)
        except RuntimeError as error:
            print(f"{peer.label:32} failed: {error}")
            continue
        _print_line(peer, found, ours)
    ratios = sorted(beside.check_s / each.check_s for each, beside in pairs)
    whole = sorted(beside.total_s / each.total_s for each, beside in pairs)
    print(
        f"\nThinker / SHA-256 alone, pair by pair: median {statistics.median(ratios):.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f}); with the start of both processes {statistics.median(whole):.2f}"
    )
    return ours


def _runs(peer: Peer, path: Path, rows: int, repeat: int) -> Iterator[Run]:
    """Several runs of a quick peer, one of a slow one."""
    first = run(peer, path, rows)
    yield first
    for _ in range(repeat - 1 if first.check_s < 3 else 0):
        yield run(peer, path, rows)


def _print_line(peer: Peer, found: Run, ours: Run) -> None:
    ratio = found.check_s / found.rows * ours.rows / ours.check_s
    note = f"  on the first {found.size_bytes / 1e6:.0f} MB" if found.rows != ours.rows else ""
    print(
        f"{peer.label:32} {found.check_s:9.3f} {found.bytes_per_s / 1e6:6.0f} {found.rows / found.check_s:12,.0f} "
        f"{ratio:7.2f} {found.start_s:8.2f} {found.peak_bytes / 1e6:8.0f}{note}"
    )


def main() -> None:
    """Make the files, compare, and tell how Thinker's memory grows with the file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--big", action="store_true", help="measure memory on 5 GB too")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="these peers alone")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each that is quick")
    parser.add_argument("--size", type=int, default=500_000_000, help="bytes of the large file")
    options = parser.parse_args()
    if "THINKER_SCIFACT_DIR" not in os.environ:
        sys.exit("set THINKER_SCIFACT_DIR to a folder with claims_train.jsonl and corpus.jsonl")
    with tempfile.TemporaryDirectory(prefix="thinker-bench-") as folder:
        wanted = options.size * (12 if options.big else 1) + 300_000_000
        if shutil.disk_usage(folder).free < wanted:
            sys.exit(f"{folder} has no room for {wanted / 1e9:.1f} GB; set TMPDIR to another folder")
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        print(f"Python {sys.version.split()[0]}, {cores} cores, load {os.getloadavg()[0]:.1f} before the first run")
        large, short = Path(folder) / "large.jsonl", Path(folder) / "short.jsonl"
        rows = write_large(large, options.size)
        peaks = {large.stat().st_size: compare("Large rows", large, rows, repeat=options.repeat, only=options.only)}
        found = compare("Short rows", short, write_short(short), repeat=options.repeat, only=options.only)
        print(f"\nThinker checks {found.rows / found.check_s:,.0f} short rows a second")
        small = Path(folder) / "small.jsonl"
        small_rows = write_beginning(large, small, options.size // 10)
        peaks[small.stat().st_size] = run(THINKER, small, small_rows)
        if options.big:
            huge = Path(folder) / "huge.jsonl"
            with huge.open("wb") as file:
                for _ in range(10):
                    with large.open("rb") as part:
                        shutil.copyfileobj(part, file, 1 << 20)
            peaks[huge.stat().st_size] = run(THINKER, huge, 10 * rows)
        for size_bytes, each in sorted(peaks.items()):
            print(f"peak memory of Thinker at {size_bytes / 1e6:.0f} MB: {each.peak_bytes / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
