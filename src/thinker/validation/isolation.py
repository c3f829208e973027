"""Runs foreign code in this process and puts back what it may have changed.

Covered: current folder, environment and time zone, streams and their file descriptors, imports, settings of the
interpreter, random states of Python, NumPy and torch, torch's settings that change numbers, locale, umask, SIGINT and
SIGTERM, warning filters, logging, and patches of Thinker's own functions. Not covered: threads and processes left
running (threads are warned of), files, and patches inside other libraries.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.machinery
import locale
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from thinker.errors import TestSuiteError
from thinker.validation.library_state import numpy_state, torch_state

log = logging.getLogger("thinker")

Restore = Callable[[], None]

_ATTRIBUTES: Final[tuple[tuple[ModuleType, str], ...]] = (
    (sys, "argv"),
    (sys, "stdin"),
    (sys, "stdout"),
    (sys, "stderr"),
    (sys, "displayhook"),
    (sys, "excepthook"),
    (sys, "unraisablehook"),
    (sys, "dont_write_bytecode"),
    (threading, "excepthook"),
    (tempfile, "tempdir"),
)
_SETTINGS: Final[tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...]] = (
    (sys.getrecursionlimit, sys.setrecursionlimit),
    (sys.get_int_max_str_digits, sys.set_int_max_str_digits),
    (sys.getswitchinterval, sys.setswitchinterval),
    (sys.gettrace, sys.settrace),
    (sys.getprofile, sys.setprofile),
    (gc.isenabled, lambda enabled: gc.enable() if enabled else gc.disable()),
    (random.getstate, random.setstate),
)


@contextlib.contextmanager
def isolated(folder: Path) -> Iterator[None]:
    """Put back, on leaving, what the code run meanwhile changed; forget the modules it imported from `folder`.

    Everything that can be put back is, even where one thing cannot.

    Raises:
        TestSuiteError: the current folder is gone.
    """
    with warnings.catch_warnings(), contextlib.ExitStack() as stack:
        for remember in _REMEMBERED:
            stack.callback(remember())
        # Last in, first out: the libraries below are looked up once their impostors are gone.
        stack.callback(_imports(folder.resolve()))
        yield


def _folder_and_environment() -> Restore:
    folder, before = Path.cwd(), dict(os.environ)

    def restore() -> None:
        for name in [name for name in os.environ if name not in before]:
            del os.environ[name]
        for name, value in before.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        if hasattr(time, "tzset"):
            time.tzset()
        try:
            os.chdir(folder)
        except OSError as error:
            raise TestSuiteError(f"the test suite took away the current folder {folder}: {error.strerror}") from error

    return restore


def _descriptors() -> Restore:
    copies = {}
    for descriptor in (0, 1, 2):
        with contextlib.suppress(OSError):  # closed before we came
            copies[descriptor] = os.dup(descriptor)

    def restore() -> None:
        for descriptor, copy in copies.items():
            os.dup2(copy, descriptor)
            os.close(copy)

    return restore


def _interpreter() -> Restore:
    attributes = [(owner, name, getattr(owner, name)) for owner, name in _ATTRIBUTES]
    argv = list(sys.argv)
    settings = [(get, put, get()) for get, put in _SETTINGS]

    def restore() -> None:
        for owner, name, value in attributes:
            setattr(owner, name, value)
        sys.argv[:] = argv
        for get, put, value in settings:
            if get() != value:
                put(value)

    return restore


def _imports(folder: Path) -> Restore:
    lists = [(name, getattr(sys, name), list(getattr(sys, name))) for name in ("path", "meta_path", "path_hooks")]
    modules = dict(sys.modules)

    def restore() -> None:
        for name, value, contents in lists:
            value[:] = contents
            setattr(sys, name, value)
        importlib.invalidate_caches()
        roots = [Path(entry or Path.cwd()).resolve() for entry in sys.path]
        for name in [name for name in sys.modules if name not in modules]:
            if _is_foreign(name, sys.modules[name], folder, roots):
                del sys.modules[name]
        for name, module in modules.items():
            if sys.modules.get(name) is not module:
                sys.modules[name] = module
                parent, _, child = name.rpartition(".")
                if parent in modules:
                    setattr(modules[parent], child, module)

    return restore


def _is_foreign(name: str, module: ModuleType | None, folder: Path, roots: list[Path]) -> bool:
    """Whether another `import name` from now on would find something else."""
    if module is None:
        return True
    origin = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
    if isinstance(origin, str):
        place = Path(origin).resolve()
        return place.is_relative_to(folder) or not any(place.is_relative_to(root) for root in roots)
    stands_alone = "." not in name and getattr(module, "__spec__", None) is None
    return stands_alone and importlib.machinery.PathFinder.find_spec(name) is not None


def _own_functions() -> Restore:
    before = [
        (module, {name: value for name, value in vars(module).items() if callable(value)})
        for name, module in sys.modules.items()
        if name.partition(".")[0] == "thinker" and isinstance(module, ModuleType)
    ]

    def restore() -> None:
        for module, functions in before:
            for name, value in functions.items():
                if vars(module).get(name) is not value:
                    setattr(module, name, value)

    return restore


def _logging() -> Restore:
    manager, disabled = logging.root.manager, logging.root.manager.disable
    loggers = [logging.root, *(entry for entry in manager.loggerDict.values() if isinstance(entry, logging.Logger))]
    before = [
        (logger, logger.level, logger.propagate, logger.disabled, logger.handlers[:], logger.filters[:])
        for logger in loggers
    ]

    def restore() -> None:
        logging.disable(disabled)
        for logger, level, propagate, off, handlers, filters in before:
            logger.setLevel(level)
            logger.propagate, logger.disabled = propagate, off
            logger.handlers[:], logger.filters[:] = handlers, filters

    return restore


def _process() -> Restore:
    """Locale, umask, and what happens on Ctrl-C and on termination."""
    place = locale.setlocale(locale.LC_ALL)
    umask = os.umask(0o077)
    os.umask(umask)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        os.umask(umask)
        if locale.setlocale(locale.LC_ALL) != place:
            locale.setlocale(locale.LC_ALL, place)
        for number, handler in handlers.items():
            # None: not set from Python, which cannot set it again.
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)

    return restore


def _threads() -> Restore:
    before = set(threading.enumerate())

    def restore() -> None:
        left = [thread.name for thread in threading.enumerate() if thread not in before]
        if left:
            log.warning("the test suite left threads running: %s", ", ".join(sorted(left)))

    return restore


_REMEMBERED: Final[tuple[Callable[[], Restore], ...]] = (
    _threads,
    _folder_and_environment,
    _descriptors,
    _interpreter,
    _process,
    _logging,
    _own_functions,
    numpy_state,
    torch_state,
)
