"""The commands: parse, call, print. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

from pathlib import Path

import click

from thinker import __version__
from thinker.cli import options
from thinker.cli.options import CommonOptions

_skip = click.option("--skip-validation", is_flag=True,
                     help="Leave out the gate. For debugging; loud, and recorded.")  # fmt: skip
_backend = click.option("--backend", metavar="NAME", help="Train with this backend instead of the configured one.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="thinker")
@options.accept
def app() -> None:
    """Test-first fine-tuning: prove the data, train a LoRA adapter, evaluate it, leave a record."""


@app.command()
@options.common
def validate(common: CommonOptions) -> int:
    """Run the gate: the test suite, then the dataset's checks."""
    from thinker.cli.session import run_pipeline

    return run_pipeline(common, "validate")


@app.command()
@options.common
@_backend
@_skip
def train(common: CommonOptions, backend: str | None, skip_validation: bool) -> int:
    """Run the gate, then train an adapter."""
    from thinker.cli.session import run_pipeline

    return run_pipeline(common, "train", backend=backend, skip_validation=skip_validation)


@app.command("eval")
@options.common
@click.option("--checkpoint", type=click.Path(path_type=Path), metavar="PATH",
              help="Evaluate the adapter in this folder.")  # fmt: skip
@_skip
def evaluate(common: CommonOptions, checkpoint: Path | None, skip_validation: bool) -> int:
    """Run the gate, then evaluate the adapter."""
    from thinker.cli.session import run_pipeline

    return run_pipeline(common, "eval", checkpoint=checkpoint, skip_validation=skip_validation)


@app.command("run")
@options.common
@_backend
@_skip
@click.option("--dry-run", is_flag=True, help="Run the gate and show the plan; train nothing.")
def run_all(common: CommonOptions, backend: str | None, skip_validation: bool, dry_run: bool) -> int:
    """Validate, train and evaluate."""
    from thinker.cli.session import run_pipeline

    return run_pipeline(common, "run", backend=backend, skip_validation=skip_validation, dry_run=dry_run)


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
