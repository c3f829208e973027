"""What a test suite changes in this process is put back."""

import contextlib
import gc
import json
import locale
import logging
import logging.config
import os
import random
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import thinker.data.jsonl
from thinker.config.pipeline_models import TestSuiteConfig
from thinker.errors import TestSuiteError
from thinker.validation import TestSuiteRunner
from thinker.validation.isolation import isolated


def umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


def logger_state() -> list[object]:
    root, own = logging.getLogger(), logging.getLogger("thinker")
    return [
        root.level,
        list(root.handlers),
        own.level,
        own.disabled,
        own.propagate,
        list(own.filters),
        root.manager.disable,
    ]


def spoil_logging() -> None:
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": True, "root": {"level": 1, "handlers": []}})
    logging.getLogger().addHandler(logging.NullHandler())
    logging.getLogger("thinker").addFilter(lambda record: False)
    logging.disable(logging.CRITICAL)


def spoil_environment() -> None:
    os.environ.clear()
    os.environ.update({"HOME": "elsewhere", "NEW": "1", "TZ": "Asia/Tokyo"})
    time.tzset()


def spoil_new_precision() -> None:
    torch.backends.fp32_precision = "tf32"
    torch.backends.cuda.matmul.fp32_precision = "tf32"


def other_locale() -> str:
    available = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=False).stdout.split()
    return next(name for name in ["POSIX", *available] if name != locale.setlocale(locale.LC_CTYPE))


SPOILERS: dict[str, tuple[Callable[[], object], Callable[[], Any]]] = {
    "current folder": (lambda: os.chdir("/"), os.getcwd),
    "environment": (spoil_environment, lambda: dict(os.environ)),
    "time zone": (spoil_environment, lambda: time.tzname),
    "sys.path": (lambda: sys.path.insert(0, "/nowhere"), lambda: list(sys.path)),
    "sys.path, replaced": (lambda: setattr(sys, "path", []), lambda: (id(sys.path), list(sys.path))),
    "sys.meta_path": (lambda: sys.meta_path.insert(0, types.SimpleNamespace()), lambda: list(sys.meta_path)),
    "sys.argv": (lambda: sys.argv.append("x"), lambda: list(sys.argv)),
    "sys.stdout": (lambda: setattr(sys, "stdout", None), lambda: sys.stdout),
    "sys.stderr": (lambda: setattr(sys, "stderr", None), lambda: sys.stderr),
    "sys.dont_write_bytecode": (
        lambda: setattr(sys, "dont_write_bytecode", not sys.dont_write_bytecode),
        lambda: sys.dont_write_bytecode,
    ),
    "sys.excepthook": (lambda: setattr(sys, "excepthook", print), lambda: sys.excepthook),
    "recursion limit": (lambda: sys.setrecursionlimit(5_000), sys.getrecursionlimit),
    "integer digits": (lambda: sys.set_int_max_str_digits(0), sys.get_int_max_str_digits),
    "garbage collector": (gc.disable, gc.isenabled),
    "random": (lambda: random.seed(1), random.getstate),
    "temporary folder": (lambda: setattr(tempfile, "tempdir", "/nowhere"), lambda: tempfile.tempdir),
    "umask": (lambda: os.umask(0o123), umask),
    "SIGINT": (lambda: signal.signal(signal.SIGINT, lambda *_: None), lambda: signal.getsignal(signal.SIGINT)),
    "SIGTERM": (lambda: signal.signal(signal.SIGTERM, lambda *_: None), lambda: signal.getsignal(signal.SIGTERM)),
    "warning filters": (lambda: warnings.simplefilter("error"), lambda: list(warnings.filters)),
    "logging": (spoil_logging, logger_state),
    "thinker's functions": (
        lambda: setattr(thinker.data.jsonl, "parse_row", print),
        lambda: thinker.data.jsonl.parse_row,
    ),
    "numpy's generator": (lambda: np.random.seed(3), lambda: np.random.get_state()[1].tolist()),
    "numpy's errors": (lambda: np.seterr(all="raise"), np.geterr),
    "torch's generator": (lambda: torch.manual_seed(3), lambda: torch.get_rng_state().tolist()),
    "torch's dtype": (lambda: torch.set_default_dtype(torch.float64), torch.get_default_dtype),
    "torch's device": (lambda: torch.set_default_device("meta"), torch.get_default_device),
    "torch's threads": (lambda: torch.set_num_threads(torch.get_num_threads() + 1), torch.get_num_threads),
    "torch's determinism": (
        lambda: torch.use_deterministic_algorithms(not torch.are_deterministic_algorithms_enabled()),
        torch.get_deterministic_debug_mode,
    ),
    "torch's grad mode": (lambda: torch.set_grad_enabled(False), torch.is_grad_enabled),
    "torch's precision": (lambda: torch.set_float32_matmul_precision("medium"), torch.get_float32_matmul_precision),
    "torch's new precision": (
        spoil_new_precision,
        lambda: torch.backends.cuda.matmul.fp32_precision,
    ),
    "cuDNN's benchmark": (
        lambda: setattr(torch.backends.cudnn, "benchmark", True),
        lambda: torch.backends.cudnn.benchmark,
    ),
}


@pytest.mark.parametrize("what", SPOILERS)
def test_it_is_put_back(what: str, tmp_path: Path) -> None:
    spoil, look = SPOILERS[what]
    before = look()
    with isolated(tmp_path):
        spoil()
        spoiled = look()
    assert spoiled != before, "the test does not spoil what it looks at"
    assert look() == before


@pytest.mark.parametrize("what", ["environment", "torch's precision", "sys.stdout"])
def test_it_is_put_back_after_an_exception_as_well(what: str, tmp_path: Path) -> None:
    spoil, look = SPOILERS[what]
    before = look()
    with contextlib.suppress(KeyboardInterrupt), isolated(tmp_path):
        spoil()
        raise KeyboardInterrupt
    assert look() == before


def test_the_default_device_goes_back_to_none_at_all(tmp_path: Path) -> None:
    with isolated(tmp_path):
        torch.set_default_device("meta")
    assert torch.zeros(1).device.type == "cpu"
    assert not torch.overrides._get_current_function_mode_stack()


def test_the_locale_is_put_back(tmp_path: Path) -> None:
    try:
        other = other_locale()
    except (StopIteration, OSError):
        pytest.skip("this machine has one locale only")
    before = locale.setlocale(locale.LC_ALL)
    with isolated(tmp_path):
        locale.setlocale(locale.LC_ALL, other)
    assert locale.setlocale(locale.LC_ALL) == before


def test_file_descriptors_are_put_back(tmp_path: Path) -> None:
    before = [os.fstat(descriptor) for descriptor in (1, 2)]
    with isolated(tmp_path), (tmp_path / "file").open("w") as file:
        os.dup2(file.fileno(), 1)
        os.close(2)
    assert [(after.st_dev, after.st_ino) for after in map(os.fstat, (1, 2))] == [(b.st_dev, b.st_ino) for b in before]


def test_no_descriptor_leaks(tmp_path: Path) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - its own descriptor counts both times
    with isolated(tmp_path):
        pass
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_threads_left_running_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stop = threading.Event()
    with isolated(tmp_path):
        thread = threading.Thread(target=stop.wait, name="straggler", daemon=True)
        thread.start()
    stop.set()
    thread.join()
    assert "left threads running: straggler" in caplog.text


def test_a_current_folder_that_is_gone_is_told_and_the_rest_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    before = random.getstate()

    def spoil() -> None:
        with isolated(tmp_path):
            os.chdir("/")
            here.rmdir()
            random.seed(1)

    with pytest.raises(TestSuiteError, match="took away the current folder"):
        spoil()
    assert random.getstate() == before


class TestModules:
    def test_those_from_the_folder_are_forgotten(self, tmp_path: Path) -> None:
        (tmp_path / "helpers_of_suite").mkdir()
        (tmp_path / "helpers_of_suite" / "inner.py").write_text("")
        with isolated(tmp_path):
            sys.path.insert(0, str(tmp_path))
            import helpers_of_suite.inner  # type: ignore[import-not-found]  # noqa: F401
        assert not [name for name in sys.modules if name.startswith("helpers_of_suite")]

    def test_those_from_a_path_that_was_added_are_forgotten(self, tmp_path: Path) -> None:
        (tmp_path / "tests").mkdir()
        (tmp_path / "src").mkdir()
        (tmp_path / "src" / "module_beside_tests.py").write_text("")
        with isolated(tmp_path / "tests"):
            sys.path.insert(0, str(tmp_path / "src"))
            import module_beside_tests  # type: ignore[import-not-found]  # noqa: F401

            sys.path.remove(str(tmp_path / "src"))
        assert "module_beside_tests" not in sys.modules

    def test_those_of_the_standard_library_stay(self, tmp_path: Path) -> None:
        sys.modules.pop("tabnanny", None)
        with isolated(tmp_path):
            import tabnanny
        assert sys.modules["tabnanny"] is tabnanny

    def test_impostors_of_modules_not_loaded_yet_are_forgotten(self, tmp_path: Path) -> None:
        sys.modules.pop("colorsys", None)
        sys.modules.pop("tabnanny", None)
        with isolated(tmp_path):
            sys.modules["colorsys"] = types.ModuleType("colorsys")
            sys.modules["tabnanny"] = None  # type: ignore[assignment]
        import colorsys
        import tabnanny

        assert colorsys.rgb_to_hsv
        assert tabnanny.check

    def test_replaced_and_removed_modules_come_back(self, tmp_path: Path) -> None:
        ours, theirs = sys.modules["thinker.data.jsonl"], sys.modules["json"]
        with isolated(tmp_path):
            sys.modules["thinker.data.jsonl"] = thinker.data.jsonl = types.ModuleType("fake")
            del sys.modules["json"]
        assert sys.modules["thinker.data.jsonl"] is thinker.data.jsonl is ours
        assert sys.modules["json"] is theirs


NASTY = """
    import os, random, signal, sys, tempfile, threading, warnings, logging

    here = os.path.dirname(__file__)
    sys.path.insert(0, os.path.join(here, "shadows"))

    import tabnanny, plan
    assert tabnanny.ORIGIN == plan.ORIGIN == "suite"

    def test_does_what_tests_should_not():
        import numpy, torch
        os.chdir("/")
        os.environ["HF_HUB_OFFLINE"] = "0"
        os.environ["OMP_NUM_THREADS"] = "7"
        os.environ.pop("PATH")
        os.umask(0)
        sys.argv[:] = ["nothing"]
        random.seed(0)
        numpy.random.seed(0)
        torch.manual_seed(0)
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float16)
        torch.use_deterministic_algorithms(True)
        torch.set_grad_enabled(False)
        warnings.simplefilter("error")
        logging.getLogger().setLevel(logging.CRITICAL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        tempfile.tempdir = "/nowhere"
        sys.modules["thinker.errors"] = None
        sys.setrecursionlimit(5000)
"""

PROBE = """
    import json, os, random, signal, sys, tempfile, warnings, logging
    from pathlib import Path
    from thinker.config.pipeline_models import TestSuiteConfig
    from thinker.validation import TestSuiteRunner
    if "torch" in sys.argv[2:]:
        import numpy, torch
        numpy.random.seed(11); torch.manual_seed(11); torch.set_num_threads(2)
    random.seed(11)

    def look():
        umask = os.umask(0o22); os.umask(umask)
        seen = dict(cwd=os.getcwd(), environment=dict(os.environ), umask=umask, argv=sys.argv[:], path=sys.path[:],
                    limit=sys.getrecursionlimit(), random=random.getstate(), filters=warnings.filters[:],
                    log_level=logging.root.level, sigint=signal.getsignal(signal.SIGINT), temp=tempfile.tempdir,
                    module=sys.modules["thinker.errors"])
        if "torch" in sys.argv[2:]:
            seen |= dict(threads=torch.get_num_threads(), numpy=numpy.random.get_state()[1].tolist(),
                         torch=torch.get_rng_state().tolist())
        return seen

    before = look()
    result = TestSuiteRunner(TestSuiteConfig(path=Path(sys.argv[1]))).run(stream=sys.stderr)
    after = look()
    changed = [name for name in before if before[name] != after[name]]
    import tabnanny, torch
    settings = [str(torch.get_default_dtype()), torch.get_deterministic_debug_mode(), torch.is_grad_enabled()]
    own = [name for name, module in sys.modules.items() if sys.argv[1] in str(getattr(module, "__file__", ""))]
    print(json.dumps([result.passed, changed, settings, hasattr(tabnanny, "check"), own]))
"""


@pytest.mark.parametrize("loaded", [(), ("torch",)])
def test_a_nasty_suite_changes_nothing(tmp_path: Path, loaded: tuple[str, ...]) -> None:
    shadows = tmp_path / "tests" / "shadows"
    shadows.mkdir(parents=True)
    for name in ("tabnanny", "plan"):
        (shadows / f"{name}.py").write_text("ORIGIN = 'suite'\n")
    (tmp_path / "tests" / "test_nasty.py").write_text(textwrap.dedent(NASTY))
    command = [sys.executable, "-c", textwrap.dedent(PROBE), str(tmp_path / "tests"), *loaded]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [1, [], ["torch.float32", 0, True], True, []]


def test_a_suite_nested_in_this_one_leaves_it_alone(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("import sys\nsys.dont_write_bytecode = True\n")
    (tmp_path / "test_inner.py").write_text(
        "import os\ndef test_inner(monkeypatch, tmp_path):\n    os.chdir(tmp_path)\n    os.environ['INNER'] = '1'\n"
    )
    before = (Path.cwd(), dict(os.environ), list(sys.path), list(sys.meta_path), sys.modules.get("conftest"))
    assert TestSuiteRunner(TestSuiteConfig(path=tmp_path)).run().passed == 1
    assert (Path.cwd(), dict(os.environ), list(sys.path), list(sys.meta_path), sys.modules.get("conftest")) == before
    assert "test_inner" not in sys.modules
