"""What a launcher's environment variables say of a process."""

from __future__ import annotations

import os

import pytest

from thinker.errors import PreconditionError
from thinker.processes import World

TORCHRUN = {
    "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "GROUP_RANK": "1",
    "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500",
}  # fmt: skip


@pytest.mark.parametrize("variables", [{}, {"WORLD_SIZE": ""}, {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}])
def test_without_a_launcher_or_with_one_process_a_process_is_alone(variables: dict[str, str]) -> None:
    assert World.of_environment(variables) == World()
    assert World().is_main


def test_torchruns_variables_are_read() -> None:
    assert World.of_environment(TORCHRUN) == World(rank=5, size=8, local_rank=1, local_size=4, node=1)
    assert not World.of_environment(TORCHRUN).is_main


def test_a_launcher_that_says_nothing_of_machines_has_one() -> None:
    variables = {**TORCHRUN, "LOCAL_RANK": "5"}
    del variables["LOCAL_WORLD_SIZE"], variables["GROUP_RANK"]
    assert World.of_environment(variables) == World(rank=5, size=8, local_rank=5, local_size=8, node=0)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"RANK": ""}, "lacks RANK"),
        ({"MASTER_ADDR": "", "MASTER_PORT": ""}, "lacks MASTER_ADDR, MASTER_PORT"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE must be a whole number, not 'two'"),
        ({"RANK": "-1"}, "RANK must be a whole number, not '-1'"),
        ({"RANK": "8"}, "contradict each other: process 8 of 8"),
        ({"LOCAL_RANK": "4"}, "contradict each other: process 5 of 8, 4 of 4 on its machine"),
    ],
)
def test_what_cannot_be_is_refused(changed: dict[str, str], said: str) -> None:
    with pytest.raises(PreconditionError, match=said):
        World.of_environment({**TORCHRUN, **changed})


def test_hidden_code_finds_no_launcher_and_keeps_what_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**TORCHRUN, "TORCHELASTIC_RUN_ID": "x", "ACCELERATE_USE_FSDP": "true"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = dict(os.environ)
    with World.of_environment().hidden():
        assert World.of_environment() == World()
        assert "TORCHELASTIC_RUN_ID" not in os.environ
        assert "ACCELERATE_USE_FSDP" not in os.environ
        assert os.environ["OMP_NUM_THREADS"] == "1"
    assert dict(os.environ) == before


def test_alone_nothing_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    with World().hidden():
        assert os.environ["RANK"] == "0"
