"""Processes that start and end together; here two ends of one store, in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from thinker.errors import DataError, PreconditionError, ThinkerError, TrainingError
from thinker.processes import Team, World
from thinker.processes.team import _Board


@pytest.fixture
def team() -> tuple[Team, Team]:
    """Both processes of a run."""
    from torch.distributed import HashStore

    board = _Board(HashStore())
    return Team(World(0, 2, 0, 2), board), Team(World(1, 2, 1, 2), board)


@pytest.fixture
def beside() -> Iterator[Callable[..., Any]]:
    """Calls in threads of their own: in the main one, a team takes the signals."""
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit


def lost() -> RuntimeError:
    return RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]")


def test_the_others_get_what_process_0_releases_them_with(team, beside) -> None:
    leader, other = team
    waiting = beside(other.wait_for_release)
    leader.release({"dataset_sha256": "d"})
    assert waiting.result(5) == {"dataset_sha256": "d"}


def test_the_others_are_not_released_where_process_0_ends_without_training(team, beside) -> None:
    leader, other = team
    waiting, ending = beside(other.wait_for_release), beside(leader.finish, 0)
    assert waiting.result(5) is None
    assert other.wait_for_end() == 0
    assert ending.result(5) == 0


def test_all_end_with_the_exit_code_of_process_0(team, beside) -> None:
    leader, other = team
    waiting, ending = beside(other.wait_for_end), beside(leader.finish, 4)
    assert (waiting.result(5), ending.result(5)) == (4, 4)


def test_an_error_that_leaves_process_0_ends_the_others(team, beside) -> None:
    leader, other = team

    def fails() -> None:
        with leader:
            raise PreconditionError("no such file")

    failing = beside(fails)
    assert other.wait_for_end() == 2
    with pytest.raises(PreconditionError):
        failing.result(5)


@pytest.mark.parametrize(
    ("error", "kind", "exit_code", "said"),
    [
        (DataError("a row is gone"), DataError, 4, "a row is gone"),
        (TrainingError("no memory"), TrainingError, 5, "no memory"),
        (ValueError("what?"), ThinkerError, 1, "ValueError: what?"),
    ],
)
def test_a_lost_connection_is_the_failure_of_the_other_process(team, beside, error, kind, exit_code, said) -> None:
    leader, other = team
    failing = beside(other.fail, error)
    while not leader._failures(leader._board):
        pass
    cause = beside(leader.cause, lost()).result(5)
    assert type(cause) is kind
    assert cause.exit_code == exit_code
    assert str(cause).startswith("process 1 of 2 (on ")
    assert str(cause).endswith(f": {said}")
    beside(leader.finish, exit_code)
    assert failing.result(10) == exit_code


def test_an_error_of_its_own_stays_process_0s(team, beside) -> None:
    error = TrainingError("the loss is nan")
    assert beside(team[0].cause, error).result(5) is error


def test_a_process_that_says_nothing_any_more_is_named(team, beside) -> None:
    cause = beside(team[0].cause, TrainingError("broken off")).result(5)
    assert str(cause) == "broken off"
    wrapped = TrainingError("hf_peft: RuntimeError")
    wrapped.__cause__ = lost()
    cause = beside(team[0].cause, wrapped).result(10)
    assert isinstance(cause, TrainingError)
    assert "process 1 of 2 ended without a word" in str(cause)


def test_an_interrupt_of_all_is_no_ones_failure(team, beside) -> None:
    leader, other = team
    failing, interrupt = beside(other.fail, KeyboardInterrupt()), KeyboardInterrupt("after step 3")
    assert beside(leader.cause, interrupt).result(5) is interrupt
    assert isinstance(beside(leader.cause, lost()).result(5), KeyboardInterrupt)
    beside(leader.finish, 130)
    assert failing.result(10) == 130


def test_an_interrupt_of_process_0_alone_is_its_own_where_the_other_lives(team, beside) -> None:
    leader, other = team
    stop = threading.Event()

    def lives() -> None:
        beat = 0
        while not stop.wait(0.05):
            beat += 1
            other._board.post("beat/1", beat)

    beside(lives)
    interrupt = KeyboardInterrupt()
    assert beside(leader.cause, interrupt).result(10) is interrupt
    stop.set()


def test_who_fails_after_process_0_has_gone_reports_itself(team, beside) -> None:
    assert beside(team[1].fail, DataError("a row is gone")).result(10) is None


def test_one_process_of_a_machine_goes_first(team, beside) -> None:
    first, second = team
    order = []

    def goes(team: Team) -> None:
        with team.first_of_node_first():
            order.append(team.world.local_rank)

    waiting = beside(goes, second)
    beside(goes, first).result(5)
    waiting.result(5)
    assert order == [0, 1]


def test_alone_there_is_nothing_to_wait_for() -> None:
    team, error = Team.alone(), lost()
    team.release({})
    with team.first_of_node_first():
        assert team.cause(error) is error
    assert team.finish(3) == 3
