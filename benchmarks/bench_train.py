"""Thinker's training beside TRL's, plain Trainer's and LLaMA-Factory's: speed, memory, and what the adapters learned.

Run: make bench-train, or python benchmarks/bench_train.py [--peers NAME,...] [--repeat N] [--json FILE]
On a GPU: the same with --device cuda --model 135m|1b|8b --rows 256 --peers thinker,trl,trainer

All train the same rows in the same order: LoRA of rank 16 on q, k, v and o without dropout, over a base model in
bfloat16, the loss on completions, all tokens of them alike. Each run is a process of its own; the contenders take
turns, and every second round in reverse order. `tokens/s` counts the tokens of the rows, padding aside, over the time
from a Trainer that is ready to the end of its last step: no model is loaded in it and no row encoded, but whatever is
compiled or tuned on the way is in it; `after 1st` leaves the first step out. `peak` is the highest resident set of
the process with all that it started; `in training` that of its steps alone. Ratios are of runs in the same round.
The loss of each adapter on rows that none has seen is measured by heldout_loss.py.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

from train_case import (
    REAL,
    SHAPES,
    Case,
    random_model,
    read_rows,
    real_model,
    required_flops,
    scifact_rows,
    write_ids,
    write_rows,
)
from train_report import print_learned, print_ratios, print_runs, ratios
from train_runs import EXTRAS, LABELS, environment, held_out_losses, said_to_be_missing, take_turns

DEFAULT = ("thinker", "trl", "trainer", "llamafactory", *EXTRAS)
CPU_BATCH = (2, 8)
# Micro-batch and accumulation on a GPU: about what plain Trainer, which keeps the logits of all tokens, can hold in
# 80 GB, reckoned from the shapes.
GPU_BATCHES = {"135m": (16, 4), "1b": (8, 4), "8b": (2, 16)}


def main() -> int:
    """Prepare the case, let the contenders take turns, print what came of it. 1 where one of them failed."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leave no contender running
    with _folder(options.work) as folder:
        case, held_out, words = prepare(options, folder)
        _print_case(case, words, options)
        present = [name for name in options.peers if not said_to_be_missing(name)]
        runs, failures = take_turns(case, present, options.repeat, folder)
        if runs:
            print_runs(case, runs)
        print_ratios(runs)
        losses = held_out_losses(case, held_out, runs) if held_out else {}
        print_learned(runs, losses)
        if options.json:
            found = {
                "case": asdict(case), "words": words, "load": os.getloadavg()[0], "runs": [asdict(run) for run in runs],
                "ratios": ratios(runs), "held_out_losses": losses, "required_flops": required_flops(case),
                "failures": failures,
            }  # fmt: skip
            options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 1 if failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", default=",".join(DEFAULT), help=f"of {', '.join(LABELS)}; by default: %(default)s")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="rounds (default 3)")
    parser.add_argument("--model", choices=[REAL, *SHAPES], default=REAL, help="the real one, or a shape at random")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--data", type=Path, metavar="FILE", help="JSONL of prompt and completion, not SciFact")
    parser.add_argument("--rows", type=int, default=64, help="rows to train on (default 64)")
    parser.add_argument("--held-out", type=int, default=40, help="rows to measure the adapters on; 0: none")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--steps", type=int, help="stop after so many optimizer steps")
    parser.add_argument("--micro-batch", type=int, help="2; on a GPU more, by model")
    parser.add_argument("--accumulation", type=int, help="8; on a GPU by model")
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--work", type=Path, help="folder for models and adapters, kept (default: a temporary one)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures, for a later look")
    options = parser.parse_args()
    options.peers = options.peers.split(",")
    if unknown := set(options.peers) - set(LABELS):
        parser.error(f"no such peer: {', '.join(sorted(unknown))}")
    return options


@contextlib.contextmanager
def _folder(work: Path | None) -> Iterator[Path]:
    if work is not None:
        work.mkdir(parents=True, exist_ok=True)
        yield work.resolve()
    else:
        with tempfile.TemporaryDirectory(prefix="thinker-bench-") as folder:
            yield Path(folder)


def prepare(options: argparse.Namespace, folder: Path) -> tuple[Case, str | None, str]:
    """The case, the file of held-out rows, and what is trained in words.

    Rows of `--data` that are fewer than `--rows` are repeated; held out are those after the ones trained.
    """
    if options.data is None:
        rows, held_out, words = scifact_rows(folder, options.rows, options.held_out)
    else:
        found, words = read_rows(options.data), f"of {options.data.name}"
        rows, held_out = found[: options.rows], found[options.rows :][: options.held_out]
    if len(rows) < options.rows:
        words += f", {len(rows)} of them repeated"
        rows = (rows * -(-options.rows // len(rows)))[: options.rows]
    if options.model == REAL:
        model = real_model()
    else:  # in a process of its own, which leaves nothing on the GPU
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            model = pool.submit(random_model, options.model, folder, rows, options.device).result()
    encoded = write_ids(folder / "ids.json", rows, model)
    batch = GPU_BATCHES.get(options.model, CPU_BATCH) if options.device == "cuda" else CPU_BATCH
    case = Case(
        model=str(model), rows=write_rows(folder / "rows.jsonl", rows), ids=str(folder / "ids.json"),
        device=options.device, micro_batch=options.micro_batch or batch[0],
        accumulation=options.accumulation or batch[1], epochs=options.epochs, max_steps=options.steps,
        learning_rate=options.learning_rate,
    )  # fmt: skip
    tokens = sum(len(ids) for ids, _ in encoded)
    trained = sum(len(ids) - prompt for ids, prompt in encoded)
    words = f"the first {len(rows)} rows {words}: {tokens:,} tokens, {trained:,} of them with loss"
    return case, write_rows(folder / "held-out.jsonl", held_out) if held_out else None, words


def _print_case(case: Case, words: str, options: argparse.Namespace) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = environment()["OMP_NUM_THREADS"]
    print(f"Python {sys.version.split()[0]}, {case.device}, {cores} cores, {threads} threads, "
          f"load {os.getloadavg()[0]:.1f} before the first run")  # fmt: skip
    print(f"{options.model}, {words}")
    print(
        f"LoRA r={case.rank} on {', '.join(case.targets)}; bf16; micro-batch {case.micro_batch} x accumulation "
        f"{case.accumulation}, {len(case.step_rows())} steps; {case.optimizer}, {case.scheduler} from "
        f"{case.learning_rate:g}\n",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
