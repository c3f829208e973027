"""The command line: `main` is the console script `thinker`."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code.

    Exit codes: 0 success; 1 unexpected; 2 usage, configuration or a missing precondition; 3 tests; 4 data; 5 training;
    6 evaluation; 7 a comparison did not hold; 130 interrupted.
    """
    from thinker.cli.entry import run

    sys.exit(run(list(sys.argv[1:] if argv is None else argv)))
