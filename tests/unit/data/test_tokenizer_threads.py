"""Threads of `tokenizers`: off in a process that may fork, on while a batch is tokenized, unless the user decides."""

import os
import subprocess
import sys

import pytest

from thinker.data import tokenizer_threads

VARIABLE = "TOKENIZERS_PARALLELISM"


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(tokenizer_threads, "_ours", False)


def test_threads_are_on_within_the_block_alone() -> None:
    tokenizer_threads.keep_off()
    assert os.environ[VARIABLE] == "false"
    with tokenizer_threads.all_cores():
        assert os.environ[VARIABLE] == "true"
    assert os.environ[VARIABLE] == "false"
    del os.environ[VARIABLE]


def test_a_library_call_leaves_the_environment_as_it_was() -> None:
    with tokenizer_threads.all_cores():
        assert os.environ[VARIABLE] == "true"
    assert VARIABLE not in os.environ


def test_what_the_user_set_counts(monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, "0")
    tokenizer_threads.keep_off()
    with tokenizer_threads.all_cores():
        assert os.environ[VARIABLE] == "0"


def test_the_library_looks_at_the_variable_each_time_and_a_fork_goes_unremarked() -> None:
    code = """
import os, threading
from tokenizers import Tokenizer, models, pre_tokenizers
from thinker.data import tokenizer_threads

tokenizer_threads.keep_off()
tokenizer = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
count = lambda: len(os.listdir("/proc/self/task"))
alone = count()
tokenizer.encode_batch(["a a"] * 100)
kept = count()
with tokenizer_threads.all_cores():
    tokenizer.encode_batch(["a a"] * 100)
print(kept - alone, count() > kept)
if os.fork() == 0:
    tokenizer.encode_batch(["a a"] * 100)
    os._exit(0)
os.wait()
"""
    if not os.path.isdir("/proc/self/task"):  # noqa: PTH112
        pytest.skip("threads are counted in /proc")
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("0 True", "")
