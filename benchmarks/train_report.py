"""What bench_train.py prints of its runs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace

from train_case import Case, required_flops
from train_runs import LABELS, Run

OURS, BASELINES = ("thinker", "thinker-fast"), ("trl", "trainer")
FIGURES: dict[str, Callable[[Run], float | None]] = {
    "tokens/s": lambda run: run.tokens_per_s,
    "after the first step": lambda run: run.after_first_tokens_per_s,
    "peak memory": lambda run: run.peak_bytes,
    "peak in training": lambda run: run.train_peak_bytes,
    "peak on the GPU": lambda run: run.device_peak_bytes,
}


def print_runs(case: Case, runs: Sequence[Run]) -> None:
    """A line a contender: medians over its runs."""
    flops, peak_flops = required_flops(case), _peak_flops(case)
    speed = "MFU" if peak_flops else "TFLOP/s"
    print(f"\n{'':28} {'seconds':>8} {'tokens/s':>9} {'after 1st':>9} {speed:>8} {'peak MB':>8} {'in training':>11}"
          f"{' GPU MB' if case.device == 'cuda' else ''}  loss, first and last step")  # fmt: skip
    for name, each in _by_name(runs).items():
        middle = _median_run(each)
        rate = flops / middle.seconds
        shown = f"{rate / peak_flops:8.1%}" if peak_flops else f"{rate / 1e12:8.2f}"
        device = f" {middle.device_peak_bytes / 1e6:6.0f}" if middle.device_peak_bytes else ""
        print(
            f"{LABELS[name]:28} {middle.seconds:8.1f} {middle.tokens_per_s:9,.0f} "
            f"{middle.after_first_tokens_per_s or 0:9,.0f} {shown} {middle.peak_bytes / 1e6:8.0f} "
            f"{middle.train_peak_bytes / 1e6:11.0f}{device}  {middle.losses[0]:.4f} {middle.losses[-1]:.4f}"
            f"{'' if middle.same_ids else '  (other token ids)'}"
        )
    if all(run.same_ids for run in runs):
        print("All of them trained the same token ids, with loss on the same ones.")
    print(f"{speed}: of the {flops / 1e12:,.4g} TFLOP that the mathematics asks for, `required_flops` in train_case.py")
    for name, each in _by_name(runs).items():
        if recorded := [run.recorded_s for run in each if run.recorded_s]:
            print(f"{LABELS[name]}: {statistics.median(recorded):.1f} s by its own record, final checkpoint included.")


def _median_run(runs: Sequence[Run]) -> Run:
    """Made of the medians of all figures."""
    return replace(
        runs[0], seconds=statistics.median(run.seconds for run in runs),
        after_first_s=statistics.median(run.after_first_s or 0.0 for run in runs),
        peak_bytes=int(statistics.median(run.peak_bytes for run in runs)),
        train_peak_bytes=int(statistics.median(run.train_peak_bytes for run in runs)),
    )  # fmt: skip


def ratios(runs: Sequence[Run]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """By Thinker's contender, baseline and figure: the quotient of the two in each round that has both."""
    by_name = _by_name(runs)
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for ours in OURS:
        for baseline in BASELINES:
            pairs = [
                (one, other)
                for one in by_name.get(ours, [])
                for other in by_name.get(baseline, [])
                if one.round == other.round
            ]
            figures = {name: _quotients(pairs, read) for name, read in FIGURES.items()}
            if pairs:
                found.setdefault(ours, {})[baseline] = {name: each for name, each in figures.items() if each}
    return found


def _quotients(pairs: Sequence[tuple[Run, Run]], read: Callable[[Run], float | None]) -> list[float]:
    """Empty where a run has no such figure."""
    read_pairs = [(read(one), read(other)) for one, other in pairs]
    return [one / other for one, other in read_pairs if one and other]


def print_ratios(runs: Sequence[Run]) -> None:
    """Their medians and ranges."""
    for ours, of_baselines in ratios(runs).items():
        for baseline, figures in of_baselines.items():
            print(f"\n{LABELS[ours]} / {LABELS[baseline]}, pair by pair:")
            for name, each in figures.items():
                print(f"  {name:22} {statistics.median(each):6.2f} ({min(each):.2f} to {max(each):.2f})")


def print_learned(runs: Sequence[Run], losses: dict[str, float]) -> None:
    """How near the losses are to plain Trainer's: of each step, and on held-out rows."""
    by_name = _by_name(runs)
    plain = by_name["trainer"][0].losses if "trainer" in by_name else None
    if losses:
        print(f"\nloss on held-out rows, base model {losses['base']:.4f}:")
    for name, each in by_name.items():
        said = []
        if name in losses:
            said.append(f"{losses[name]:.4f}")
        if name in losses and "trainer" in losses and name != "trainer":
            said.append(f"{abs(losses[name] / losses['trainer'] - 1):.2%} from plain Trainer's")
        if plain is not None and name != "trainer":
            apart = max(abs(one / other - 1) for one, other in zip(each[0].losses, plain, strict=True))
            said.append(f"losses of its steps within {apart:.2%} of plain Trainer's")
        if said:
            print(f"  {LABELS[name]:28} {', '.join(said)}")


def _by_name(runs: Sequence[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.name, []).append(run)
    return dict(sorted(found.items(), key=lambda item: list(LABELS).index(item[0])))


def _peak_flops(case: Case) -> float | None:
    if case.device != "cuda":
        return None
    import torch

    from thinker.modeling.peak_flops import peak_flops

    return peak_flops(torch.cuda.get_device_name(), "bfloat16")
