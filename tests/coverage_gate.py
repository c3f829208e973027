"""Print the coverage of src/thinker and fail where it is too low.

    python tests/coverage_gate.py build/coverage.json

The file is what `coverage json` writes. Lines and branches have a bar each, where `--cov-fail-under` has one for both.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path


def main() -> int:
    """The exit code is 1 where a bar is not reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("--lines", type=float, default=90.0, help="percent of lines to reach (default: 90)")
    parser.add_argument("--branches", type=float, default=80.0, help="percent of branches to reach (default: 80)")
    arguments = parser.parse_args()
    totals = json.loads(arguments.report.read_text(encoding="utf-8"))["totals"]
    passed = [
        reaches("lines", percent(totals, "covered_lines", "num_statements"), arguments.lines),
        reaches("branches", percent(totals, "covered_branches", "num_branches"), arguments.branches),
    ]
    return 0 if all(passed) else 1


def percent(totals: Mapping[str, int], covered: str, total: str) -> float:
    """How many in a hundred are covered; 100 where there is nothing to cover."""
    return 100.0 * totals[covered] / totals[total] if totals[total] else 100.0


def reaches(what: str, found: float, bar: float) -> bool:
    """Print a line on `what`; whether `found` is at least `bar` (both in percent)."""
    verdict = "" if found >= bar else "  TOO LOW"
    sys.stdout.write(f"coverage of src/thinker: {found:5.1f}% of {what} (at least {bar:g}%){verdict}\n")
    return found >= bar


if __name__ == "__main__":
    sys.exit(main())
