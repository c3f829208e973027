from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from thinker.runs.run_log import RunLog

log = logging.getLogger("thinker")


@pytest.fixture
def run_log(tmp_path: Path) -> Iterator[RunLog]:
    found = RunLog(tmp_path / "run.log")
    found.start()
    yield found
    found.stop()


def test_line_has_time_in_utc_level_and_message(run_log: RunLog) -> None:
    record = logging.LogRecord("thinker", logging.INFO, "", 0, "%d rows", (3,), None)
    record.created = 0.0
    run_log.emit(record)

    assert run_log.path.read_text(encoding="utf-8") == "1970-01-01T00:00:00Z INFO    3 rows\n"


def test_line_is_on_disk_before_the_run_ends(run_log: RunLog) -> None:
    log.info("step 1")

    assert "step 1" in run_log.path.read_text(encoding="utf-8")


def test_traceback_is_kept_in_the_log_and_not_in_the_warning(run_log: RunLog) -> None:
    try:
        raise ValueError("why")
    except ValueError:
        log.warning("went on", exc_info=True)

    assert "Traceback" in run_log.path.read_text(encoding="utf-8")
    assert run_log.warnings == ["went on"]


def test_message_that_cannot_be_formatted_does_not_stop_the_caller(
    run_log: RunLog, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", True)
    run_log.emit(logging.LogRecord("thinker", logging.INFO, "", 0, "%d rows", ("three",), None))

    assert "Logging error" in capsys.readouterr().err


def test_stopping_twice_is_harmless(run_log: RunLog) -> None:
    run_log.stop()
    run_log.stop()

    assert run_log not in log.handlers
