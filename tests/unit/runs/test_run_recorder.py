from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from thinker import secrets
from thinker.errors import DataError, RecordError
from thinker.hashing import sha256_file
from thinker.runs import RunRecorder, recorder
from thinker.runs.models import ValidationRecord
from thinker.runs.schema import shipped_record_schema

Start = Callable[..., RunRecorder]
log = logging.getLogger("thinker")


def on_disk(run: RunRecorder) -> dict:
    written = json.loads(run.record_path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(json.loads(shipped_record_schema())).validate(written)
    return written


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    monkeypatch.setattr(recorder, "_now", lambda: moment)


def test_start_writes_a_record_of_a_running_run_and_makes_its_folder(
    start: Start, tmp_path: Path, config_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, datetime(2025, 11, 10, 18, 5, 42, tzinfo=UTC))
    monkeypatch.chdir(config_path.parent.parent)

    run = start(tmp_path / "runs", overrides=["training.learning_rate=1e-4"])

    assert run.record_path == tmp_path / "runs" / "20251110T180542Z.json"
    assert run.folder.is_dir()
    written = on_disk(run)
    assert (written["run_id"], written["timestamp"]) == ("20251110T180542Z", "2025-11-10T18:05:42Z")
    assert (written["status"], written["exit_code"], written["finished_at"]) == ("running", None, None)
    assert (written["command"], written["config"]) == ("run", "project/pipeline.yaml")
    assert written["overrides"] == ["training.learning_rate=1e-4"]
    assert written["git_commit"] is None
    assert written["environment"]["versions"]["pydantic"]


def test_commit_is_that_of_the_repository_of_the_pipeline_file(start: Start, config_path: Path) -> None:
    folder = str(config_path.parent)
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "1"]):
        subprocess.run(["git", "-C", folder, *arguments], check=True)
    head = subprocess.run(["git", "-C", folder, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)

    written = on_disk(start())

    assert written["git_commit"] == written["git"]["commit"] == head.stdout.strip()


def test_second_run_of_a_second_gets_a_suffix(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, datetime(2025, 11, 10, 18, 5, 42, tzinfo=UTC))

    ids = [start().run_id for _ in range(3)]

    assert ids == ["20251110T180542Z", "20251110T180542Z-2", "20251110T180542Z-3"]


def test_record_without_its_folder_is_not_overwritten(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, datetime(2025, 11, 10, 18, 5, 42, tzinfo=UTC))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "20251110T180542Z.json").write_text("kept", encoding="utf-8")

    assert start().run_id == "20251110T180542Z-2"
    assert (tmp_path / "runs" / "20251110T180542Z.json").read_text(encoding="utf-8") == "kept"


def test_eight_processes_that_start_in_one_second_get_a_record_each(tmp_path: Path) -> None:
    script = f"""
import sys
from datetime import UTC, datetime
from pathlib import Path
from thinker.runs import recorder
recorder._now = lambda: datetime(2025, 11, 10, 18, 5, 42, tzinfo=UTC)
print("ready", flush=True)
sys.stdin.readline()
run = recorder.RunRecorder.start(
    Path({str(tmp_path / "runs")!r}), command="train", argv=[sys.argv[1]], config_path=Path("pipeline.yaml"))
run.finish("success", 0)
print(run.run_id)
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for number in range(8)
    ]
    assert all(process.stdout.readline() == "ready\n" for process in processes)
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    ids = [process.communicate()[0].strip() for process in processes]

    assert sorted(ids) == sorted(["20251110T180542Z", *(f"20251110T180542Z-{number}" for number in range(2, 9))])
    for number, run_id in enumerate(ids):
        written = json.loads((tmp_path / "runs" / f"{run_id}.json").read_text(encoding="utf-8"))
        assert (written["argv"], written["status"]) == ([str(number)], "success")


def test_update_sets_sections_and_keeps_the_others(start: Start) -> None:
    run = start()
    run.update(seeds={"data": 42})

    run.update(validation=ValidationRecord(pytest="passed", dataset_errors=0))

    written = on_disk(run)
    assert written["seeds"] == {"data": 42}
    assert written["validation"]["pytest"] == "passed"


def test_update_refuses_a_section_that_the_record_does_not_have(start: Start) -> None:
    run = start()

    with pytest.raises(ValidationError, match="trainnig"):
        run.update(trainnig={})

    assert on_disk(run)["status"] == "running"


def test_process_killed_between_writing_and_replacing_leaves_the_record_before(tmp_path: Path) -> None:
    script = f"""
import os
from pathlib import Path
from thinker.runs import RunRecorder
run = RunRecorder.start(Path({str(tmp_path)!r}), command="train", argv=[], config_path=Path("pipeline.yaml"))
run.update(seeds={{"data": 1}})
os.replace = os.rename = lambda *_: os._exit(9)
run.update(seeds={{"data": 2}})
"""

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9

    (record,) = tmp_path.glob("*.json")
    assert json.loads(record.read_text(encoding="utf-8"))["seeds"] == {"data": 1}


def test_stage_is_timed_and_recorded_at_its_end(start: Start) -> None:
    run = start()

    with run.stage("tests"):
        assert on_disk(run)["timings_s"] == {}

    assert on_disk(run)["timings_s"]["tests"] >= 0


def test_seconds_of_a_stage_entered_twice_add_up(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start()
    clock = iter([10.0, 11.5, 20.0, 22.0])
    monkeypatch.setattr(recorder.time, "perf_counter", lambda: next(clock))

    for _ in range(2):
        with run.stage("dataset"):
            pass

    assert run.record.timings_s == {"dataset": 3.5}


def test_failed_stage_is_timed_and_named_as_where_the_error_came_from(start: Start) -> None:
    run = start()
    with pytest.raises(ZeroDivisionError) as caught, run.stage("train"), run.stage("encode"):
        _ = 1 / 0

    run.finish("failed", 1, caught.value)

    written = on_disk(run)
    assert set(written["timings_s"]) == {"train", "encode"}
    assert written["error"] == {"stage": "encode", "type": "ZeroDivisionError", "message": "division by zero"}


def test_error_of_thinkers_own_names_its_stage_itself(start: Start) -> None:
    run = start()
    with pytest.raises(DataError) as caught, run.stage("train"):
        raise DataError("d.jsonl:3: prompt: missing")

    run.finish("failed", 4, caught.value)

    assert on_disk(run)["error"] == {"stage": "data", "type": "DataError", "message": "d.jsonl:3: prompt: missing"}


def test_error_outside_every_stage_is_not_laid_on_an_earlier_one(start: Start) -> None:
    run = start()
    with pytest.raises(ValueError, match="forgiven"), run.stage("plots"):
        raise ValueError("forgiven")

    run.finish("failed", 1, OSError("elsewhere"))

    assert on_disk(run)["error"]["stage"] == "thinker"


def test_interrupted_run_says_so(start: Start) -> None:
    run = start()
    with pytest.raises(KeyboardInterrupt) as caught, run.stage("train"):
        raise KeyboardInterrupt

    run.finish("interrupted", 130, caught.value)

    written = on_disk(run)
    assert (written["status"], written["exit_code"]) == ("interrupted", 130)
    assert (written["error"]["stage"], written["error"]["type"]) == ("train", "KeyboardInterrupt")


def test_finish_records_status_exit_code_and_time(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start()
    at(monkeypatch, datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC))

    run.finish("success", 0)

    written = on_disk(run)
    assert (written["status"], written["exit_code"], written["error"]) == ("success", 0, None)
    assert written["finished_at"] == "2030-01-02T03:04:05Z"


def test_artifact_is_listed_by_content(start: Start) -> None:
    run = start()
    (run.folder / "loss.png").write_bytes(b"picture")

    run.artifact("loss_plot", run.folder / "loss.png")

    found = on_disk(run)["artifacts"]["loss_plot"]
    assert (found["sha256"], found["size_bytes"]) == (sha256_file(run.folder / "loss.png"), 7)


def test_artifact_that_is_not_there_is_a_warning(start: Start) -> None:
    run = start()
    run.artifact("loss_plot", run.folder / "loss.png")
    run.finish("success", 0)

    written = on_disk(run)
    assert "loss_plot" not in written["artifacts"]
    assert "loss.png" in written["warnings"][0]


def test_json_files_of_the_folder_are_written_and_listed(start: Start) -> None:
    run = start()

    run.write_json("config.resolved", {"learning_rate": 2e-4, "path": Path("a") / "b"})

    text = (run.folder / "config.resolved.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"learning_rate": 0.0002, "path": "a/b"}
    assert on_disk(run)["artifacts"]["config.resolved"]["size_bytes"] == len(text)


def test_warnings_are_recorded_once_each_in_order(start: Start) -> None:
    run = start()
    for message in ("fp16 on CPU", "the gate was skipped", "fp16 on CPU"):
        log.warning("%s", message)
    log.info("not a warning")

    run.finish("success", 0)

    assert on_disk(run)["warnings"] == ["fp16 on CPU", "the gate was skipped"]


def test_log_of_the_run_has_every_level_and_is_listed(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    run = start()
    log.debug("a detail")
    log.error("a failure")
    logging.getLogger("thinker.training").info("from below")
    run.finish("success", 0)
    log.info("after the end")

    text = (run.folder / "run.log").read_text(encoding="utf-8")
    assert "DEBUG   a detail" in text
    assert "ERROR   a failure" in text
    assert "INFO    from below" in text
    assert "after the end" not in text
    assert on_disk(run)["artifacts"]["log"]["sha256"] == sha256_file(run.folder / "run.log")


def test_logger_is_as_before_once_the_run_is_finished(start: Start) -> None:
    log.setLevel(logging.ERROR)
    before = (list(log.handlers), log.level)
    run = start()
    run.finish("success", 0)

    assert (list(log.handlers), log.level) == before


def test_planted_secrets_are_in_no_file_of_a_run(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = ["planted-environment-value", "planted-registered-value", "hf_" + "Planted0" * 4, "planted-plain-value"]
    environment, registered, shaped, plain = planted
    monkeypatch.setenv("RECORDER_TEST_TOKEN", environment)
    run = start(
        argv=["thinker", "--set", f"model.hf_token={plain}", f"--set=model.hf_token={plain}", environment, registered],
        overrides=[f"model.hf_token={plain}"],
    )
    secrets.register(registered)  # after the record was first written, as when a later stage reads it
    log.warning("cannot log in with %s", environment)
    run.update(training={"backend": "hf_peft", "config": "l.yaml", "checkpoint_dir": Path(shaped)})
    run.write_json("environment", {environment: {"x": [shaped]}})
    try:
        raise DataError(f"401 for {shaped}, {environment}, {registered}")
    except DataError as error:
        log.exception("failed")
        run.finish("failed", 4, error)

    written = {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    assert len(written) == 3
    assert [
        (path.name, secret) for path, data in written.items() for secret in planted if secret.encode() in data
    ] == []
    assert on_disk(run)["argv"][1:4] == ["--set", "model.hf_token=***", "--set=model.hf_token=***"]


def test_argument_that_is_not_utf8_can_be_recorded(start: Start) -> None:
    assert on_disk(start(argv=[os.fsdecode(b"caf\xe9.yaml")]))["argv"] == ["caf\\udce9.yaml"]


def test_runs_folder_below_a_file_is_refused_with_the_key_to_change(start: Start, config_path: Path) -> None:
    with pytest.raises(RecordError, match=r"pipeline\.yaml.*--set pipeline\.runs_dir="):
        start(config_path / "runs")


def test_read_only_runs_folder_is_refused(start: Start, mount: Callable[[str, str], Path]) -> None:
    runs_dir = mount("disk", "ro")

    with pytest.raises(RecordError, match="Read-only file system"):
        start(runs_dir)

    assert log.handlers == [] or not any("RunLog" in type(handler).__name__ for handler in log.handlers)


@pytest.fixture
def full_disk_run(start: Start, mount: Callable[[str, str], Path]) -> RunRecorder:
    """A run whose disk has become full."""
    disk = mount("disk", "size=256k")
    run = start(disk)
    with (disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4096))
    return run


def test_full_disk_is_a_warning_while_the_run_goes_on(
    full_disk_run: RunRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    full_disk_run.update(seeds={"data": 1})

    assert "cannot write the run record" in caplog.text
    assert "No space left" in caplog.text
    assert on_disk(full_disk_run)["seeds"] == {}


def test_full_disk_leaves_a_file_of_the_folder_out_with_a_warning(
    full_disk_run: RunRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    full_disk_run.write_json("environment", {"x": "y" * 10_000})

    assert "environment.json: No space left" in caplog.text
    assert not (full_disk_run.folder / "environment.json").exists()


def test_full_disk_fails_a_run_that_otherwise_succeeded(full_disk_run: RunRecorder) -> None:
    with pytest.raises(RecordError, match="No space left"):
        full_disk_run.finish("success", 0)


def test_run_failed_by_its_record_can_still_be_closed_as_failed(
    full_disk_run: RunRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(RecordError) as failure:
        full_disk_run.finish("success", 0)

    full_disk_run.finish("failed", 2, failure.value)

    assert full_disk_run.record.status == "failed"
    assert "cannot write the run record" in caplog.text


def test_full_disk_does_not_hide_why_a_run_failed(full_disk_run: RunRecorder, caplog: pytest.LogCaptureFixture) -> None:
    full_disk_run.finish("failed", 5, RuntimeError("diverged"))

    assert "cannot write the run record" in caplog.text


def test_full_disk_that_gets_space_again_leaves_a_whole_record(full_disk_run: RunRecorder) -> None:
    full_disk_run.update(seeds={"data": 1})
    (full_disk_run.record_path.parent / "filler").unlink()

    full_disk_run.finish("success", 0)

    written = on_disk(full_disk_run)
    assert (written["seeds"], written["status"]) == ({"data": 1}, "success")
    assert any("cannot write" in warning for warning in written["warnings"])


def test_log_cut_short_by_a_full_disk_is_announced(
    full_disk_run: RunRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(200):
        log.info("line %d %s", number, "x" * 100)

    full_disk_run.finish("failed", 1)

    assert "run.log is incomplete: No space left" in caplog.text
