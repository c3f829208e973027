from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from thinker.errors import RecordError
from thinker.runs import RunRecorder, list_runs, load_record, recorder

FIRST = datetime(2025, 11, 10, 18, 5, 42, tzinfo=UTC)
Run = Callable[..., RunRecorder]


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def run(start: Callable[..., RunRecorder], runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Records a run that starts `minutes` after the first and takes 90 seconds."""

    def record(minutes: int = 0, command: str = "run") -> RunRecorder:
        moment = FIRST + timedelta(minutes=minutes)
        monkeypatch.setattr(recorder, "_now", lambda: moment)
        recorded = start(runs_dir, command=command)
        monkeypatch.setattr(recorder, "_now", lambda: moment + timedelta(seconds=90))
        recorded.finish("success", 0)
        return recorded

    return record


def test_runs_are_listed_newest_first(run: Run, runs_dir: Path) -> None:
    ids = [run(minutes).run_id for minutes in (0, 30, 10)]

    assert [summary.run_id for summary in list_runs(runs_dir)] == [ids[1], ids[2], ids[0]]


def test_eleven_runs_of_one_second_are_listed_in_their_order(run: Run, runs_dir: Path) -> None:
    ids = [run().run_id for _ in range(11)]

    assert [summary.run_id for summary in list_runs(runs_dir)] == ids[::-1]


def test_summary_says_what_a_list_shows(run: Run, runs_dir: Path, config_path: Path) -> None:
    recorded = run(command="train")

    (found,) = list_runs(runs_dir)

    assert (found.run_id, found.path) == (recorded.run_id, recorded.record_path)
    assert (found.status, found.exit_code, found.command) == ("success", 0, "train")
    assert (found.started, found.duration_s) == ("2025-11-10T18:05:42Z", 90.0)
    assert found.config == config_path.as_posix()


def test_run_in_progress_has_no_duration(start: Callable[..., RunRecorder], runs_dir: Path) -> None:
    start(runs_dir)

    (found,) = list_runs(runs_dir)

    assert (found.status, found.duration_s) == ("running", None)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "not JSON"),
        (b'{"run_id": ', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a run record"),
        (b'{"name": "package"}', "not a run record"),
        (b'{"schema_version": 2}', "newer Thinker"),
    ],
)
def test_damaged_and_foreign_files_are_listed_as_unreadable(
    run: Run, runs_dir: Path, content: bytes, problem: str
) -> None:
    run()
    (runs_dir / "foreign.json").write_bytes(content)

    readable, foreign = list_runs(runs_dir)

    assert readable.status == "success"
    assert (foreign.run_id, foreign.status) == ("foreign", "unreadable")
    assert problem in foreign.problem


def test_folder_named_like_a_record_is_listed_as_unreadable(runs_dir: Path) -> None:
    (runs_dir / "20251110T180542Z.json").mkdir(parents=True)

    (found,) = list_runs(runs_dir)

    assert found.status == "unreadable"


def test_hidden_files_and_run_folders_are_not_listed(run: Run, runs_dir: Path) -> None:
    recorded = run()
    (runs_dir / f"._{recorded.run_id}.json").write_bytes(b"left by a Mac")
    (runs_dir / f".{recorded.run_id}.json.tmp").write_text("{", encoding="utf-8")

    assert len(list_runs(runs_dir)) == 1


def test_runs_folder_that_does_not_exist_holds_no_runs(runs_dir: Path) -> None:
    assert list_runs(runs_dir) == []


def test_runs_folder_that_is_a_file_is_an_error(config_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot read the runs folder"):
        list_runs(config_path)


@pytest.mark.parametrize("spell", [
    lambda recorded: recorded.record_path,
    lambda recorded: str(recorded.record_path),
    lambda recorded: recorded.folder,
    lambda recorded: recorded.run_id,
    lambda recorded: recorded.record_path.name,
    lambda recorded: recorded.run_id[:13],
], ids=["path", "text", "folder", "id", "name", "beginning"])  # fmt: skip
def test_record_is_found(run: Run, runs_dir: Path, spell: Callable[[RunRecorder], str | Path]) -> None:
    run(60)
    recorded = run(0)

    assert load_record(spell(recorded), runs_dir) == recorded.record


def test_latest_is_the_newest_run(run: Run, runs_dir: Path) -> None:
    newest = run(60)
    run(0)
    (runs_dir / "zzz.json").write_text("{}", encoding="utf-8")

    assert load_record("latest", runs_dir).run_id == newest.run_id


def test_whole_id_is_not_mistaken_for_the_beginning_of_another(run: Run, runs_dir: Path) -> None:
    first, _ = run(), run()

    assert load_record(first.run_id, runs_dir).run_id == first.run_id


def test_beginning_that_fits_several_runs_is_refused_with_their_ids(run: Run, runs_dir: Path) -> None:
    ids = [run(minutes).run_id for minutes in (0, 1)]

    with pytest.raises(RecordError, match="fits 2 runs") as refusal:
        load_record("20251110", runs_dir)

    assert all(run_id in str(refusal.value) for run_id in ids)


def test_mistyped_id_draws_a_suggestion(run: Run, runs_dir: Path) -> None:
    recorded = run()

    with pytest.raises(RecordError, match=f"did you mean '{recorded.run_id}'"):
        load_record("20251110T180543Z", runs_dir)


def test_unknown_id_shows_the_newest_runs(run: Run, runs_dir: Path) -> None:
    ids = [run(minutes).run_id for minutes in range(6)]

    with pytest.raises(RecordError, match="newest: ") as refusal:
        load_record("baseline", runs_dir)

    assert ids[-1] in str(refusal.value)
    assert ids[0] not in str(refusal.value)


@pytest.mark.parametrize("wanted", ["latest", "", "20251110T180542Z"])
def test_empty_runs_folder_is_named(runs_dir: Path, wanted: str) -> None:
    with pytest.raises(RecordError, match="holds no run records"):
        load_record(wanted, runs_dir)


def test_damaged_record_is_an_error_with_its_place(run: Run, runs_dir: Path) -> None:
    recorded = run()
    written = json.loads(recorded.record_path.read_text(encoding="utf-8"))
    written["digests"]["gate"] = "short"
    recorded.record_path.write_text(json.dumps(written), encoding="utf-8")

    with pytest.raises(RecordError, match=r"not a run record: digests\.gate"):
        load_record("latest", runs_dir)
