"""The commands: parse, call, print. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

from pathlib import Path

import click

from thinker import __version__
from thinker.cli import options
from thinker.cli.options import CommonOptions

_skip = click.option("--skip-validation", is_flag=True,
                     help="Leave out the gate. For debugging; loud, and recorded.")  # fmt: skip
_force = click.option("--force", is_flag=True,
                      help="Run the gate, even if it has passed before and nothing changed.")  # fmt: skip
_max_errors = click.option("--max-errors", type=click.IntRange(min=0), default=10, show_default=True, metavar="N",
                           help="Show the first N errors, and as many warnings.")  # fmt: skip
_reports = click.option("--report", "reports", multiple=True, metavar="[FORMAT=]PATH",
                        help="Write all problems to PATH ('-': standard output) as jsonl, junit, sarif, or github "
                             "(annotations). Repeatable.")  # fmt: skip
_fresh = click.option("--fresh", is_flag=True,
                      help="Train anew from step 0, whatever checkpoints there are; none is deleted.")  # fmt: skip
_backend = click.option("--backend", metavar="NAME", help="Train with this backend instead of the configured one.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="thinker")
@options.accept
def app() -> None:
    """Test-first fine-tuning: prove the data, train a LoRA adapter, evaluate it, leave a record."""


@app.command()
@options.common
@_force
@click.option("--explain", is_flag=True, help="List what the verdict rests on and what changed; run nothing.")
@_max_errors
@_reports
def validate(common: CommonOptions, force: bool, explain: bool, max_errors: int, reports: tuple[str, ...]) -> int:
    """Run the gate: the test suite, then the dataset's checks."""
    if explain:
        from thinker.cli.explain import explain_gate

        return explain_gate(common)
    from thinker.cli.session import run_pipeline

    return run_pipeline(common, "validate", force=force, max_errors=max_errors, reports=reports)


@app.command()
@options.common
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--schema", type=click.Path(path_type=Path), metavar="FILE",
              help="What rows must look like: a list of fields (.yaml), or a JSON Schema (.json).")  # fmt: skip
@click.option("--max-examples", type=click.IntRange(min=1), metavar="N", help="Check no more rows than this.")
@_max_errors
@_reports
def check(common: CommonOptions, files: tuple[str, ...], schema: Path | None, max_examples: int | None,
          max_errors: int, reports: tuple[str, ...]) -> int:  # fmt: skip
    """Check JSONL files by themselves, without a pipeline; several are one dataset."""
    from thinker.cli.check import check_files

    return check_files(common, files, schema, max_examples=max_examples, max_errors=max_errors, reports=reports)


@app.command()
@options.common
@_backend
@_skip
@_force
@_fresh
def train(common: CommonOptions, backend: str | None, skip_validation: bool, force: bool, fresh: bool) -> int:
    """Run the gate, then train an adapter."""
    from thinker.cli.session import run_pipeline

    return run_pipeline(common, "train", backend=backend, skip_validation=skip_validation, force=force, fresh=fresh)


@app.command("eval")
@options.common
@click.option("--checkpoint", type=click.Path(path_type=Path), metavar="PATH",
              help="Evaluate the adapter in this folder.")  # fmt: skip
@_skip
@_force
def evaluate(common: CommonOptions, checkpoint: Path | None, skip_validation: bool, force: bool) -> int:
    """Run the gate, then evaluate the adapter."""
    from thinker.cli.session import run_pipeline

    return run_pipeline(common, "eval", checkpoint=checkpoint, skip_validation=skip_validation, force=force)


@app.command("run")
@options.common
@_backend
@_skip
@_force
@_fresh
@click.option("--dry-run", is_flag=True,
              help="Run the gate, show the plan and what training will take; train nothing.")  # fmt: skip
@click.option("--no-probe", is_flag=True,
              help="With --dry-run: compute memory from the model's shape, instead of trying two steps.")  # fmt: skip
def run_all(common: CommonOptions, backend: str | None, skip_validation: bool, force: bool, fresh: bool,
            dry_run: bool, no_probe: bool) -> int:  # fmt: skip
    """Validate, train and evaluate."""
    if no_probe and not dry_run:
        raise click.UsageError("--no-probe goes with --dry-run")
    from thinker.cli.session import run_pipeline

    return run_pipeline(
        common, "run", backend=backend, skip_validation=skip_validation, force=force, fresh=fresh, dry_run=dry_run,
        probe=not no_probe,
    )  # fmt: skip


@app.command("merge")
@options.common
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR",
              help="A new folder for the merged model, or one that an earlier merge wrote.")  # fmt: skip
@click.option("--checkpoint", type=click.Path(path_type=Path), metavar="PATH",
              help="Merge the adapter in this folder.  [default: the configuration's]")  # fmt: skip
@click.option("--dtype", type=click.Choice(["auto", "float32", "bfloat16", "float16"]), default="auto",
              show_default=True,
              help="Precision of the weights; auto: that in which the base model is evaluated.")  # fmt: skip
@click.option("--rows", type=click.IntRange(min=1), default=8, show_default=True, metavar="N",
              help="Compare on the first N rows of the dataset.")  # fmt: skip
def merge_adapter(common: CommonOptions, out: Path, checkpoint: Path | None, dtype: str, rows: int) -> int:
    """Merge an adapter into its base model, and prove that the result does the same."""
    from thinker.cli.merging import merge_adapter

    return merge_adapter(common, checkpoint, out, dtype, rows)


@app.command("inspect")
@options.common
@click.option("--row", type=click.IntRange(min=1), metavar="K",
              help="The K-th row of the dataset, counted from 1; blank lines do not count.  [default: 1]")  # fmt: skip
@click.option("--line", metavar="[FILE:]N", help="The row at this line of the file, as messages of the gate name it.")
def inspect_row(common: CommonOptions, row: int | None, line: str | None) -> int:
    """Show a row as the model will see it: tokens, loss mask, weights."""
    from thinker.cli.inspect import inspect_row

    return inspect_row(common, row, line)


@app.group()
def convert() -> None:
    """Make a dataset from a raw corpus."""


@convert.command("scifact")
@options.common
@click.option("--claims", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Claims (JSONL).")
@click.option("--corpus", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Corpus (JSONL).")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Dataset to write (JSONL).")
@click.option("--no-evidence", type=click.Choice(["keep", "drop"]), default="keep", show_default=True,
              help="What becomes of claims without evidence.")  # fmt: skip
def convert_scifact(common: CommonOptions, claims: Path, corpus: Path, out: Path, no_evidence: str) -> int:
    """Make prompt/completion rows from SciFact's claims and abstracts."""
    from thinker.cli.tools import convert_scifact_files

    return convert_scifact_files(common, claims, corpus, out, no_evidence)


@app.command()
@options.common
@click.argument("name", type=click.Choice(["pipeline", "lora", "record"]))
def schema(common: CommonOptions, name: str) -> int:
    """Print the JSON Schema of the pipeline file, the LoRA file, or the run record."""
    from thinker.cli.tools import print_schema

    return print_schema(name)


@app.group()
def runs() -> None:
    """Look at run records."""


@runs.command("list")
@options.common
@click.option("--runs-dir", type=click.Path(path_type=Path), metavar="DIR",
              help="Folder of the records.  [default: the pipeline file's, else runs/thinker]")  # fmt: skip
def list_runs(common: CommonOptions, runs_dir: Path | None) -> int:
    """List the runs, newest first."""
    from thinker.cli.tools import print_runs

    return print_runs(common, runs_dir)


@runs.command("show")
@options.common
@click.argument("run", default="latest")
@click.option("--runs-dir", type=click.Path(path_type=Path), metavar="DIR",
              help="Folder of the records.  [default: the pipeline file's, else runs/thinker]")  # fmt: skip
def show_run(common: CommonOptions, run: str, runs_dir: Path | None) -> int:
    """Show one run: a record's path, its id or the start of it, or 'latest'."""
    from thinker.cli.tools import print_run

    return print_run(common, run, runs_dir)


@app.command()
@options.common
@click.argument("run", default="latest")
@click.option("--runs-dir", type=click.Path(path_type=Path), metavar="DIR",
              help="Folder of the records.  [default: the pipeline file's, else runs/thinker]")  # fmt: skip
@click.option("--anyway", is_flag=True, help="Replay even where inputs are not as recorded.")
def reproduce(common: CommonOptions, run: str, runs_dir: Path | None, anyway: bool) -> int:
    """Replay a run in a temporary folder: MATCH, or what differs first.

    RUN is a record's path, its id or the start of it, or 'latest'. Nothing of the project or the run is changed.
    """
    from thinker.cli.replay import reproduce_run

    return reproduce_run(common, run, runs_dir, anyway=anyway)


@app.command()
@options.common
@click.argument("run", default="latest")
@click.option("--runs-dir", type=click.Path(path_type=Path), metavar="DIR",
              help="Folder of the records.  [default: the pipeline file's, else runs/thinker]")  # fmt: skip
def verify(common: CommonOptions, run: str, runs_dir: Path | None) -> int:
    """Compute every hash again that a run's record names: ok, changed, missing.

    RUN is a record's path, its id or the start of it, or 'latest'.
    """
    from thinker.cli.replay import verify_run

    return verify_run(common, run, runs_dir)


@app.group()
def cache() -> None:
    """What can be computed again: encoded rows, unpacked models."""


@cache.command("list")
@options.common
def list_cache(common: CommonOptions) -> int:
    """List the cache's entries with their sizes."""
    from thinker.cli.tools import print_cache

    return print_cache(common)


@cache.command("clear")
@options.common
def clear_cache(common: CommonOptions) -> int:
    """Delete the cache."""
    from thinker.cli.tools import delete_cache

    return delete_cache(common)
