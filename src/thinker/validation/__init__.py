"""The gate: what must hold before anything expensive runs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thinker.validation.dataset import DatasetValidationResult, DatasetValidator
    from thinker.validation.suite import TestSuiteResult, TestSuiteRunner

__all__ = ["DatasetValidationResult", "DatasetValidator", "TestSuiteResult", "TestSuiteRunner"]

_MODULES = {
    "DatasetValidationResult": "dataset",
    "DatasetValidator": "dataset",
    "TestSuiteResult": "suite",
    "TestSuiteRunner": "suite",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: a worker process needs one small module of this package, and that soon."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
