"""How long `thinker --help` takes, beside importing typer, in pairs so that a busy machine disturbs both alike.

Run: python benchmarks/bench_startup.py [PAIRS]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

COMMANDS = {
    "thinker --help": [sys.executable, "-m", "thinker", "--help"],
    "import typer": [sys.executable, "-c", "import typer"],
    "bare python": [sys.executable, "-c", "pass"],
}


def seconds(command: list[str]) -> float:
    """Wall time of one process, its output thrown away."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Print the median of each and the ratios, pair by pair."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    for command in COMMANDS.values():
        seconds(command)  # fills the file cache
    times_s = {name: [] for name in COMMANDS}
    for _ in range(pairs):
        for name, command in COMMANDS.items():
            times_s[name].append(seconds(command))
    for name, found in times_s.items():
        print(f"{name:16s} median {statistics.median(found) * 1e3:6.1f} ms  (min {min(found) * 1e3:.1f})")
    ratios = [ours / theirs for ours, theirs in zip(times_s["thinker --help"], times_s["import typer"], strict=True)]
    print(
        f"thinker --help / import typer: median {statistics.median(ratios):.2f} over {pairs} pairs (at most 1.8 wanted)"
    )


if __name__ == "__main__":
    main()
