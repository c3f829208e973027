"""Commands beside the pipeline: convert, schema, runs, cache."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Literal, cast

from thinker.cli.options import CommonOptions
from thinker.cli.printing import find_runs_dir, say, say_json
from thinker.errors import EXIT_OK


def convert_scifact_files(common: CommonOptions, claims: Path, corpus: Path, out: Path, no_evidence: str) -> int:
    """`thinker convert scifact`."""
    from thinker.cli.session import configure_output
    from thinker.data.convert import convert_scifact

    configure_output(common)
    report = convert_scifact(claims, corpus, out, no_evidence=cast(Literal["keep", "drop"], no_evidence))
    if common.as_json:
        found = {"out": out.as_posix(), "rows": report.rows, "dropped": report.dropped, "sha256": report.sha256}
        say_json({**found, "by_label": dict(report.by_label)})
    else:
        labels = ", ".join(f"{count} {label}" for label, count in report.by_label.items())
        say(f"{out}: {report.rows} rows ({labels}), {report.dropped} dropped, sha256 {report.sha256}")
    return EXIT_OK


def print_schema(name: str) -> int:
    """`thinker schema NAME`."""
    if name == "record":
        from thinker.runs.schema import record_schema

        say_json(record_schema())
    else:
        from thinker.config.json_schema import shipped_schema

        sys.stdout.write(shipped_schema(name))
    return EXIT_OK


def print_runs(common: CommonOptions, runs_dir: Path | None) -> int:
    """`thinker runs list`."""
    from thinker.cli.show import show_table
    from thinker.runs.listing import list_runs

    summaries = list_runs(find_runs_dir(common, runs_dir))
    if common.as_json:
        say_json({"runs": [{**asdict(run), "path": run.path.as_posix()} for run in summaries]})
    elif not summaries:
        say(f"no runs in {find_runs_dir(common, runs_dir)}")
    else:
        rows = [
            [run.run_id, run.command or "", run.status, "" if run.duration_s is None else f"{run.duration_s:.0f} s",
             run.config or run.problem or ""]
            for run in summaries
        ]  # fmt: skip
        show_table(["run", "command", "status", "time", "configuration"], rows)
    return EXIT_OK


def print_run(common: CommonOptions, run: str, runs_dir: Path | None) -> int:
    """`thinker runs show RUN`."""
    from thinker.cli.show import show_outcome
    from thinker.runs.listing import find_record, load_record

    folder = find_runs_dir(common, runs_dir)
    record = load_record(run, folder)
    if common.as_json:
        say_json(record.model_dump(mode="json"))
        return EXIT_OK
    say(f"run       {record.run_id}: {record.command} {record.config}, {record.status}, exit code {record.exit_code}")
    say(f"started   {record.timestamp}, git commit {record.git_commit or 'unknown'}")
    for file in (file for file in record.inputs if file.role == "dataset"):
        say(f"dataset   {file.path} (sha256 {file.sha256[:12]})")
    if record.error:
        say(f"error     {record.error.stage}: {record.error.message}")
    show_outcome(record)
    for warning in record.warnings:
        say(f"warning   {warning}")
    for name, digest in record.digests.model_dump().items():
        say(f"digest    {name} {digest or '–'}")
    say(f"record    {find_record(run, folder)}")
    return EXIT_OK


def print_cache(common: CommonOptions) -> int:
    """`thinker cache list`."""
    from thinker.cli.show import show_table

    entries = _cache_entries(common)
    if common.as_json:
        say_json({"entries": [{"path": path.as_posix(), "size_bytes": size} for path, size in entries]})
    elif not entries:
        say("the cache is empty")
    else:
        show_table(["entry", "MB"], [[path.as_posix(), f"{size / 1e6:.1f}"] for path, size in entries])
    return EXIT_OK


def delete_cache(common: CommonOptions) -> int:
    """`thinker cache clear`."""
    entries = _cache_entries(common)
    for path, _ in entries:
        shutil.rmtree(path)
    freed_bytes = sum(size for _, size in entries)
    if common.as_json:
        say_json({"deleted": len(entries), "freed_bytes": freed_bytes})
    else:
        say(f"deleted {len(entries)} entries, {freed_bytes / 1e6:.1f} MB")
    return EXIT_OK


def _cache_entries(common: CommonOptions) -> list[tuple[Path, int]]:
    """Folders that Thinker made in the cache, and nothing else that may lie there, with their sizes in bytes."""
    from thinker.files import cache_dir

    kinds = [cache_dir(common.config.resolve()) / kind for kind in ("encoded", "models", "probes", "tokenizers")]
    folders = [folder for kind in kinds if kind.is_dir() for folder in sorted(kind.iterdir()) if folder.is_dir()]
    return [(folder, sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())) for folder in folders]
