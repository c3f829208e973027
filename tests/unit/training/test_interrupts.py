"""A request to end is kept back once, and never twice."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from thinker.training.interrupts import kept_back

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends signals to itself")
NAMES = ["SIGINT", "SIGTERM", "SIGHUP"]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Each signal interrupts, as under the command line, also where the tests run in the background."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {name: signal.signal(getattr(signal, name), interrupt) for name in NAMES}
    yield
    for name, handler in before.items():
        signal.signal(getattr(signal, name), handler)


@pytest.mark.parametrize("name", NAMES)
def test_the_first_signal_is_noted_and_the_second_ends_at_once(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with kept_back("in a moment") as interrupts:
        signal.raise_signal(getattr(signal, name))
        assert interrupts.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        deadline = time.monotonic() + 10
        while not caplog.messages and time.monotonic() < deadline:
            time.sleep(0.001)
    assert caplog.messages == ["in a moment"]


def test_a_request_that_a_launcher_hands_on_is_one_also_where_it_comes_after_the_work() -> None:
    with kept_back("in a moment", once_within_s=0.2) as interrupts:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert interrupts.requested
    signal.raise_signal(signal.SIGTERM)
    time.sleep(0.25)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


def test_afterwards_signals_do_what_they_did_before() -> None:
    with kept_back("in a moment"):
        pass
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


def test_what_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with kept_back("in a moment") as interrupts:
        signal.raise_signal(signal.SIGHUP)
        assert not interrupts.requested


def test_outside_the_main_thread_nothing_changes() -> None:
    seen = []

    def work() -> None:
        with kept_back("in a moment") as interrupts:
            seen.append((interrupts.requested, signal.getsignal(signal.SIGTERM)))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
