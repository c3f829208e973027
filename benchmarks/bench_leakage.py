"""Finding near duplicates of the records to evaluate: Thinker's exact search beside MinHash with LSH.

SciFact's train claims against its dev claims (`THINKER_SCIFACT_DIR`), then 100,000 made-up rows against 10,000 records,
one row in a hundred being a record with one word changed. Found: rows with a record at least `SIMILAR` alike. All count
the same shingles; MinHash takes 128 permutations, and candidates are not checked again, as these libraries leave it.

Run: python benchmarks/bench_leakage.py [ROWS] [RECORDS]
`pip install datasketch rensa` for the comparison; they are no dependencies of Thinker.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import random
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from thinker.validation.near_duplicates import SIMILAR, NearDuplicates, shingles
from thinker.validation.normalise import normalise

THRESHOLD = SIMILAR[0] / SIMILAR[1]
PERMUTATIONS = 128
WORDS, LENGTHS, CHANGED = 20_000, range(8, 19), 0.01

Find = Callable[[str], bool]


def exact(records: Sequence[str]) -> Find:
    """Thinker's own."""
    near = NearDuplicates(records)
    return lambda text: near.nearest(text) is not None


def datasketch(records: Sequence[str]) -> Find:
    """MinHash and LSH of `datasketch`, which needs numpy and scipy."""
    from datasketch import MinHash, MinHashLSH

    def sketch(text: str) -> MinHash:
        made = MinHash(num_perm=PERMUTATIONS)
        made.update_batch([" ".join(each).encode() for each in shingles(text)])
        return made

    index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    for number, record in enumerate(records):
        index.insert(number, sketch(record))
    return lambda text: bool(index.query(sketch(text)))


def rensa(records: Sequence[str]) -> Find:
    """MinHash and LSH of `rensa`, written in Rust."""
    from rensa import RMinHash, RMinHashLSH

    def sketch(text: str) -> RMinHash:
        made = RMinHash(num_perm=PERMUTATIONS, seed=0)
        made.update([" ".join(each) for each in shingles(text)])
        return made

    index = RMinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS, num_bands=32)
    for number, record in enumerate(records):
        index.insert(number, sketch(record))
    return lambda text: bool(index.query(sketch(text)))


def made_up(rows: int, records: int) -> tuple[list[str], list[str]]:
    """Rows and records of words as frequent as in a language (Zipf), some rows being records but for one word."""
    draw = random.Random(0)
    words = [f"w{number}" for number in range(WORDS)]
    weights = list(itertools.accumulate(1 / (rank + 10) for rank in range(WORDS)))

    def text() -> list[str]:
        return draw.choices(words, cum_weights=weights, k=draw.choice(LENGTHS))

    evaluated = [text() for _ in range(records)]
    trained = []
    for _ in range(rows):
        row = text()
        if draw.random() < CHANGED:
            row = list(draw.choice(evaluated))
            row[draw.randrange(len(row))] = draw.choice(words)
        trained.append(" ".join(row))
    return trained, [" ".join(record) for record in evaluated]


def claims(name: str) -> list[str]:
    """SciFact's claims, normalised."""
    path = Path(os.environ["THINKER_SCIFACT_DIR"]) / f"claims_{name}.jsonl"
    return [normalise(json.loads(line)["claim"]) for line in path.read_text(encoding="utf-8").splitlines()]


def compare(title: str, rows: Sequence[str], records: Sequence[str]) -> None:
    """Print what each finds, and how fast."""
    print(f"{title}: {len(rows)} rows against {len(records)} records")
    truth: set[int] = set()
    for method in (exact, datasketch, rensa):
        if method is not exact and importlib.util.find_spec(method.__name__) is None:
            print(f"  {method.__name__:10s} not installed")
            continue
        started = time.perf_counter()
        find = method(records)
        indexed = time.perf_counter()
        found = {number for number, row in enumerate(rows) if find(row)}
        searched_s = time.perf_counter() - indexed
        truth = truth or found
        print(
            f"  {method.__name__:10s} index {indexed - started:6.2f} s   rows {searched_s:6.2f} s"
            f" ({len(rows) / searched_s:9,.0f}/s)   found {len(found & truth)} of {len(truth)},"
            f" wrongly {len(found - truth)}   peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB"
        )


def main() -> None:
    """Compare on real claims, where they are there, and on made-up rows."""
    if "THINKER_SCIFACT_DIR" in os.environ:
        compare("SciFact", claims("train"), claims("dev"))
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    records = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    compare("made up", *made_up(rows, records))


if __name__ == "__main__":
    main()
