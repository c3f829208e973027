"""`run --dry-run` with a real probe, and prediction beside measurement after training."""

import json
import os
from pathlib import Path

import jsonschema
import pytest
from support.project import Project, make_project

from thinker.runs.schema import record_schema
from thinker.training import probe

Capture = pytest.CaptureFixture[str]


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_dry_run_probes_and_training_puts_what_it_took_beside_it(
    project: Project, tiny_model: Path, tmp_path: Path, capfd: Capture
) -> None:
    before = files_below(project.root)
    assert project.run_here("run", "--dry-run", "--json") == 0
    record = json.loads(capfd.readouterr().out)
    jsonschema.validate(record, record_schema())
    plan, predicted = record["plan"], record["estimates"]["predicted"]
    assert predicted["source"] == "probe"
    for name in ("steps", "tokens", "trained_tokens"):
        assert predicted[name] == plan[name]
    assert predicted["seconds"] > 0
    assert predicted["peak_memory_bytes"] == sum(predicted["memory_parts"].values())
    assert record["estimates"]["measured"] is None
    made = {name for name in files_below(project.root) - before if not name.startswith(("runs/", ".thinker/"))}
    assert made - {name for name in made if "__pycache__" in name or ".pytest_cache" in name} == set()

    assert project.run_here("train", "-q") == 0
    after = project.record()
    jsonschema.validate(after, record_schema())
    said, seen = after["estimates"]["predicted"], after["estimates"]["measured"]
    assert said["source"] == "probe"
    assert said["seconds"] == predicted["seconds"]
    assert seen["steps"] == said["steps"] == after["training"]["steps"]
    assert seen["seconds"] == after["training"]["metrics"]["train_seconds"]
    # Of the tiny model next to nothing but the libraries is in memory, so that this holds on any machine.
    assert after["estimates"]["ratios"]["peak_memory_bytes"] == pytest.approx(1, abs=0.2)
    assert after["estimates"]["ratios"]["steps"] == 1

    unprobed = make_project(tmp_path / "unprobed", tiny_model)
    assert unprobed.run_here("train", "-q") == 0
    assert unprobed.adapter_sha256() == project.adapter_sha256()
    assert unprobed.record()["estimates"]["predicted"]["source"] == "formula"


def test_the_tables_name_memory_and_time(project: Project, capfd: Capture) -> None:
    assert project.run_here("run", "--dry-run", "--no-probe", "--skip-validation") == 0
    shown = capfd.readouterr().out
    assert "computed, not probed" in shown
    for name in ("peak memory", "libraries", "activations", "time of the steps"):
        assert name in shown
    assert project.run_here("train", "--skip-validation") == 0
    shown = capfd.readouterr().out
    assert "predicted" in shown
    assert "measured" in shown


def test_a_probe_that_cannot_load_the_weights_is_one_line(project: Project, tiny_model: Path, capfd: Capture) -> None:
    model = project.root / "torn"
    model.mkdir()
    for path in tiny_model.iterdir():
        content = path.read_bytes()
        torn = path.suffix == ".safetensors"
        (model / path.name).write_bytes(content[: len(content) // 2] if torn else content)
    options = ("--skip-validation", "--set", f"model.name={model}", "--json")
    assert project.run_here("run", "--dry-run", *options) == 0
    said = capfd.readouterr()
    told = [line for line in said.err.splitlines() if "the probe failed" in line]
    assert len(told) == 1
    assert "cannot be loaded" in told[0]
    estimates = json.loads(said.out)["estimates"]["predicted"]
    assert estimates["source"] == "formula"
    assert estimates["seconds"] is None


@pytest.mark.skipif(os.name == "nt", reason="a signal and a shell script")
def test_a_probe_that_is_killed_is_taken_for_one_that_found_no_memory(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nkill -9 $$\n", encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setattr(probe.sys, "executable", str(script))
    assert project.run_here("run", "--dry-run", "--skip-validation") == 0
    assert "the probe failed: its process was killed, most likely for want of memory" in capfd.readouterr().err
    assert project.record()["plan"]["steps"] == 6


def test_no_probe_goes_with_a_dry_run(project: Project, capfd: Capture) -> None:
    assert project.run_here("run", "--no-probe") == 2
    assert "--no-probe goes with --dry-run" in capfd.readouterr().err


def test_the_cache_lists_and_clears_probes(project: Project, capfd: Capture) -> None:
    folder = project.root / ".thinker" / "cache" / "probes" / ("f" * 32)
    folder.mkdir(parents=True)
    (folder / "estimate.json").write_text("{}", encoding="utf-8")
    assert project.run_here("cache", "list", "--json") == 0
    assert "probes" in capfd.readouterr().out
    assert project.run_here("cache", "clear") == 0
    assert not folder.exists()
