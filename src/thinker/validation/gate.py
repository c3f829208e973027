"""The gate: the test suite, the schema, the further checks, in this order; each leaves its part in the run record.

A gate that passed leaves a receipt. As long as nothing changes on which its verdict rests, it does not run again.
"""

from __future__ import annotations

import itertools
import json
import logging
import sys
import time
from dataclasses import asdict
from typing import TextIO

import thinker
from thinker.config.experiment import Experiment
from thinker.config.pipeline_models import RowSchema
from thinker.errors import DataError, TestSuiteError
from thinker.runs import RunRecorder, sections
from thinker.secrets import mask
from thinker.tasks.base import Task
from thinker.validation.checks import checks_for
from thinker.validation.codes import CODES, levels
from thinker.validation.dataset import DatasetValidationResult, DatasetValidator
from thinker.validation.gate_inputs import GateInputs
from thinker.validation.known_verdicts import KnownVerdicts, SuiteReads
from thinker.validation.observation import observed
from thinker.validation.preflight import run_preflight
from thinker.validation.receipt import Receipt, StoredReceipt, now
from thinker.validation.report import Report
from thinker.validation.reporting import Reporting
from thinker.validation.suite import TestSuiteResult, TestSuiteRunner

log = logging.getLogger("thinker")


class Gate:
    """The gate of one experiment.

    Args:
        experiment: what is to be checked.
        task: the experiment's.
        recorder: of this run.
        suite_stream: where pytest's output is shown; None shows it on standard output.
        reporting: how the dataset's problems are told. Reports are only written by a gate that runs, so it runs.

    Attributes:
        digest: what it passed for; None until it has.
        dataset_sha256: the bytes that it vouches for; None until it has passed.
        encoding_sha256: hash of the rows as token ids, as training must find it; None where no tokenizer was found.
    """

    def __init__(
        self,
        experiment: Experiment,
        task: Task,
        recorder: RunRecorder,
        *,
        suite_stream: TextIO | None = None,
        reporting: Reporting | None = None,
    ) -> None:
        self._experiment, self._task, self._recorder = experiment, task, recorder
        self._suite_stream, self._reporting = suite_stream, reporting or Reporting()
        self._known: KnownVerdicts | None = None
        self.digest: str | None = None
        self.dataset_sha256: str | None = None
        self.encoding_sha256: str | None = None

    def run(self, *, force: bool = False) -> None:
        """Accept the receipt of an earlier pass, or run everything and leave one.

        Args:
            force: run, whatever receipts there are.

        Raises:
            TestSuiteError: the suite failed or nothing in it ran.
            DataError: the dataset has errors, or something changed while it was checked.
        """
        validator = _validator(self._experiment, self._task)
        self._known = KnownVerdicts(self._experiment, self._task)
        why = "of --force" if force else "of --report" if self._reporting.targets else None
        standing = None if why else self._known.standing()
        if standing is not None:
            self._accept(standing, self._known)
            return
        log.info("gate: runs, because %s", why or self._known.reason())
        self._pass(validator, self._known)

    def require_same_records(self) -> None:
        """Refuse to evaluate on other records than those that the gate saw.

        Raises:
            DataError: a file with records changed since.
        """
        if self._known is not None:
            self._known.require_same_records()

    def require_same_tokenizer(self) -> None:
        """Refuse to encode with another tokenizer than the one that the gate saw.

        Raises:
            DataError: the tokenizer changed since.
        """
        if self._known is not None:
            self._known.require_same_tokenizer()

    def _accept(self, standing: StoredReceipt, known: KnownVerdicts) -> None:
        receipt = standing.receipt
        if not self._experiment.pipeline.tests.enabled:
            self._run_suite()  # which says so, and runs nothing
        section = sections.accepted_validation(receipt.validation, self._experiment, standing)
        self._recorder.update(validation=section)
        assert section.dataset is not None, "a gate that passed has seen the dataset"
        self.digest, self.dataset_sha256 = receipt.digest, section.dataset.sha256
        encoding = section.dataset.statistics.get("encoding_sha256")
        self.encoding_sha256 = encoding if isinstance(encoding, str) else None
        log.info(
            "gate: passed before (receipt %s, %s): %d inputs unchanged, tests and checks not run again",
            receipt.digest[:12], receipt.created, receipt.inputs.count,
        )  # fmt: skip
        if warnings := section.dataset.warnings:
            counts = ", ".join(f"{code} {count}×" for code, count in section.dataset.counts_by_code.items())
            log.info("gate: %d warnings about the dataset, as in run %s (%s)", warnings, receipt.run_id, counts)

    def _pass(self, validator: DatasetValidator, known: KnownVerdicts) -> None:
        with observed() as seen:
            suite = self._run_suite()
        reads = known.reads(seen) if suite.status != "disabled" else SuiteReads()
        with self._recorder.stage("dataset"):
            result = _preflight(self._experiment, self._task, validator.validate())
        self.encoding_sha256 = result.statistics.get("encoding_sha256")
        self._recorder.update(validation=sections.validation(suite=suite, dataset=result))
        self._save_problems(result)
        self._reporting.tell(result)
        result.raise_if_failed()
        if result.sha256 != known.dataset_sha256():
            raise DataError(
                f"the dataset {self._experiment.dataset} changed while the test suite ran, which saw another; run again"
            )
        inputs, unsteady = known.with_reads(reads, is_dated=bool(result.statistics.get("tokens", {}).get("dated")))
        tests = f"{suite.passed} tests" if suite.status != "disabled" else "test suite disabled"
        log.info("gate passed: %s, %d rows, sha256 %s", tests, result.rows, result.sha256[:12])
        self.digest, self.dataset_sha256 = inputs.digest, result.sha256
        if unsteady:
            log.warning(
                "no receipt is kept, and the next command runs the gate again: %s changed while the test suite ran",
                ", ".join(unsteady),
            )
        else:
            self._keep_receipt(inputs, suite, result, known)
        if seen.started_programs and not self._experiment.pipeline.tests.inputs and suite.status != "disabled":
            log.info("gate: the test suite started other programs; what those read counts if tests.inputs names it")

    def _keep_receipt(
        self, inputs: GateInputs, suite: TestSuiteResult, result: DatasetValidationResult, known: KnownVerdicts
    ) -> None:
        record = self._recorder.record
        assert record.validation is not None, "the dataset's section was written before"
        receipt = Receipt(
            inputs=inputs,
            pipeline=self._experiment.config_path.name,
            created=now(),
            run_id=record.run_id,
            thinker_version=thinker.__version__,
            validation=record.validation.model_dump(mode="json"),
            subjects=known.dataset_names(),
            passed_tests=suite.passed_tests,
            warned=sorted({code for code in result.counts_by_code if code in CODES}),
        )
        if path := known.folder.write(receipt):
            kept = {"path": path, "digest": receipt.digest, "created": receipt.created, "reused": False}
            self._recorder.update(validation={**record.validation.model_dump(), "receipt": kept})

    def _run_suite(self) -> TestSuiteResult:
        runner = TestSuiteRunner(self._experiment.pipeline.tests)
        output = self._recorder.folder / "pytest.txt"
        with self._recorder.stage("tests"):
            try:
                suite = runner.run(output=output, stream=self._suite_stream or sys.stdout)
            except TestSuiteError as error:
                self._recorder.update(validation=sections.validation(suite=getattr(error, "result", None), failed=True))
                raise
            finally:
                if output.is_file():
                    self._recorder.artifact("pytest_output", output)
        self._recorder.update(validation=sections.validation(suite=suite))
        return suite

    def _save_problems(self, result: DatasetValidationResult) -> None:
        """Every problem as a JSON line: the console shows only the first ones."""
        if result.error_count + result.warning_count == 0:
            return
        path = self._recorder.folder / "dataset_problems.jsonl"
        problems = itertools.chain(result.errors, result.warnings)
        try:
            with path.open("w", encoding="utf-8") as file:
                file.writelines(mask(json.dumps(asdict(p), default=str, ensure_ascii=False)) + "\n" for p in problems)
        except OSError as error:  # the data's errors are what matters now
            log.warning("the list of problems is not kept in full in %s: %s", path, error.strerror)
        else:
            self._recorder.artifact("dataset_problems", path)


def check_dataset(experiment: Experiment, task: Task) -> DatasetValidationResult:
    """All checks of the dataset: the schema's, then those beyond it.

    Raises:
        DataError: a file cannot be read, or changed meanwhile.
    """
    return _preflight(experiment, task, _validator(experiment, task).validate())


def _validator(experiment: Experiment, task: Task) -> DatasetValidator:
    config = experiment.pipeline.data_validation
    return DatasetValidator(
        experiment.dataset, _schema(experiment, task), max_examples=config.max_examples, checks=config.checks
    )


def _schema(experiment: Experiment, task: Task) -> RowSchema:
    schema = experiment.pipeline.data_validation.schema
    return schema if schema is not None else task.default_schema


def _preflight(experiment: Experiment, task: Task, schema_pass: DatasetValidationResult) -> DatasetValidationResult:
    """The checks beyond the schema, added to what the schema's found."""
    config = experiment.pipeline.data_validation
    report = Report(experiment.dataset, levels(config.checks))
    started = time.perf_counter()
    found = run_preflight(
        experiment.dataset,
        task,
        checks_for(experiment, task),
        report,
        refused=schema_pass.refused_lines(),
        max_examples=config.max_examples,
        expected_sha256=schema_pass.sha256,
    )
    return schema_pass.with_pass(report, found.statistics, time.perf_counter() - started)
