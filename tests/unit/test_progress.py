"""How progress reads: amount, rate, and the time that is left."""

import logging
from collections.abc import Iterator

import pytest

from thinker import progress
from thinker.progress import amount, duration, rate


@pytest.fixture
def _plain() -> Iterator[None]:
    progress.set_mode("plain")
    yield
    progress.set_mode("off")


@pytest.mark.parametrize(
    ("done", "total", "unit", "text"),
    [
        (12, 60, "steps", "12/60 steps"),
        (12, None, "rows", "12 rows"),
        (0, 999, "bytes", "0/999 bytes"),
        (512_345, 2_100_000_000, "bytes", "0.0/2.1 GB"),
        (120_500_000, 500_000_000, "bytes", "120.5/500.0 MB"),
        (1500, None, "bytes", "1.5 kB"),
    ],
)
def test_an_amount_is_told_in_units_that_fit_the_whole(done: int, total: int | None, unit: str, text: str) -> None:
    assert amount(done, total, unit) == text


@pytest.mark.parametrize(
    ("per_second", "unit", "text"),
    [
        (0.3512, "steps", "0.351/s"),
        (1_212_345, "rows", "1,212,345/s"),
        (1.25e9, "bytes", "1.25 GB/s"),
        (9, "bytes", "9 bytes/s"),
    ],
)
def test_a_rate_is_told_in_units_that_fit_it(per_second: float, unit: str, text: str) -> None:
    assert rate(per_second, unit) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (65, "1:05"), (3723, "1:02:03"), (3599.7, "1:00:00")])
def test_a_duration_reads_like_a_clock(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.usefixtures("_plain")
def test_a_plain_line_tells_rate_and_time_left_and_the_last_one_no_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = iter([0.0, 10.0, 40.0, 80.0])
    monkeypatch.setattr("thinker.progress.time.monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO, "thinker"), progress.track("checking", 400_000_000, "bytes") as bar:
        bar.advance(100_000_000)  # too soon after the start
        bar.advance(100_000_000, loss=1.5)
        bar.advance(200_000_000)
    assert [record.getMessage() for record in caplog.records] == [
        "checking: 200.0/400.0 MB, 5 MB/s, 0:40 left  loss 1.5",
        "checking: 400.0/400.0 MB, 5 MB/s",
    ]


def test_a_bar_tells_amount_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    progress.set_mode("bar")
    try:
        with progress.track("checking", 3_000_000, "bytes") as bar:
            bar.advance(1_000_000)
            bar.advance(2_000_000, errors=2)
    finally:
        progress.set_mode("off")
    output, shown = capsys.readouterr()
    assert output == ""
    assert "checking" in shown
    assert "3.0/3.0 MB" in shown
    assert "B/s  errors 2" in shown
    assert "left" in shown
