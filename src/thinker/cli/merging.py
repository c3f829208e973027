"""`thinker merge`: an adapter merged into its base model, proved and written."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from thinker.cli.options import CommonOptions
from thinker.errors import EXIT_OK, PreconditionError

if TYPE_CHECKING:
    from thinker.merging.merge import DtypeChoice, MergeReport


def merge_adapter(common: CommonOptions, checkpoint: Path | None, out: Path, dtype: str, rows: int) -> int:
    """`thinker merge --out DIR`."""
    from thinker.cli.session import configure_output
    from thinker.config import load_experiment
    from thinker.files import cache_dir
    from thinker.modeling.packages import HOW_TO_INSTALL, require_packages

    configure_output(common)
    experiment = load_experiment(common.config, overrides=common.overrides, checkpoint=checkpoint)
    require_packages()
    try:
        from thinker.merging.merge import merge
    except ImportError as error:
        raise PreconditionError(f"{error}; {HOW_TO_INSTALL}") from error

    report = merge(
        experiment, out.resolve(), dtype=cast("DtypeChoice", dtype), row_count=rows,
        cache_dir=cache_dir(experiment.config_path),
    )  # fmt: skip
    if common.as_json:
        found = {"out": report.out.as_posix(), "size_bytes": report.size_bytes, **report.manifest}
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    elif common.verbosity >= 0:
        _show(report)
    return EXIT_OK


def _show(report: MergeReport) -> None:
    from thinker.cli.show import show_table

    parity = report.parity
    continued = f"same {parity.continuation_tokens} tokens"
    show_table(
        ["row", "positions", "max difference", "allowed", "same likeliest", continued],
        [
            [
                row.row, str(row.positions), f"{row.max_logit_difference:.2e}", f"{row.allowed_logit_difference:.2e}",
                str(row.agreeing_positions), "yes" if row.continuation_agrees else "no",
            ]
            for row in parity.rows
        ],
    )  # fmt: skip
    effect, tokens = parity.rms_adapter_effect, parity.continuation_tokens
    lines = (
        f"logits   differ by at most {parity.max_logit_difference:.3g}, {parity.rms_logit_difference:.3g} root mean "
        f"square; the adapter changes them by {effect:.3g}",
        f"greedy   the same at {parity.greedy_agreement:.1%} of positions, and {tokens} tokens after "
        f"{parity.continuation_agreement:.1%} of prompts",
        f"merged   {report.out}: {report.dtype}, {report.size_bytes / 1e6:,.1f} MB",
    )
    sys.stdout.write("\n".join(lines) + "\n")
