"""The gate: what must hold before anything expensive runs."""

from thinker.validation.dataset import DatasetValidationResult, DatasetValidator
from thinker.validation.suite import TestSuiteResult, TestSuiteRunner

__all__ = ["DatasetValidationResult", "DatasetValidator", "TestSuiteResult", "TestSuiteRunner"]
