"""validate → train → evaluate, each stage leaving its part in the run record."""

from __future__ import annotations

import itertools
import json
import logging
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TextIO

from thinker import plugins
from thinker.config import Experiment
from thinker.config.fingerprint import config_fingerprint, gate_digest, model_identity, training_fingerprint
from thinker.config.pipeline_models import SchemaField
from thinker.config.recipe_models import Recipe
from thinker.data.prepare import PreparedData, held_out_values, prepare_data
from thinker.errors import ConfigError, DataError, EvaluationError, PreconditionError, TestSuiteError
from thinker.evaluation.base import GeneratorContext
from thinker.evaluation.evaluator import (
    BASE_PREDICTIONS,
    EvaluationContext,
    EvaluationReport,
    Evaluator,
    generator_name,
    sampling_of,
)
from thinker.hashing import digest
from thinker.modeling.packages import HOW_TO_INSTALL, require_packages
from thinker.runs import RunRecorder, environment, library_versions, sections
from thinker.runs.plots import confusion_plot, loss_plot
from thinker.secrets import mask
from thinker.tasks.base import Task, evaluation_inputs
from thinker.training.base import TrainingContext, TrainingReport, create_training_backend
from thinker.training.hf_peft.artifacts import read_manifest
from thinker.validation import DatasetValidationResult, DatasetValidator, TestSuiteResult, TestSuiteRunner
from thinker.validation.checks import checks_for
from thinker.validation.codes import levels
from thinker.validation.preflight import run_preflight
from thinker.validation.report import Report

log = logging.getLogger("thinker")

Command = Literal["validate", "train", "eval", "run"]
# What an adapter's bits, or a gate's verdict, depend on.
_TRAINING_PACKAGES = ("thinker", "torch", "transformers", "peft", "tokenizers", "accelerate", "bitsandbytes")
_GATE_PACKAGES = ("thinker", "pytest", "tokenizers")


class ThinkerPipeline:
    """One experiment's stages, run in order and recorded.

    Args:
        experiment: the configuration.
        recorder: of this run.
        suite_stream: where pytest's output is shown; None shows it on standard output.
    """

    def __init__(self, experiment: Experiment, recorder: RunRecorder, *, suite_stream: TextIO | None = None) -> None:
        self.experiment, self.recorder = experiment, recorder
        self.task: Task = plugins.resolve("tasks", experiment.pipeline.task)()
        self._suite_stream = suite_stream
        self._dataset_sha256: str | None = None
        self._tokenizer: Any = None

    def run(self, command: Command, *, skip_validation: bool = False) -> None:
        """Do what the command line's subcommand of that name does."""
        self._record_inputs()
        self._require_what_it_takes(command)
        if skip_validation:
            self._skip_validation()
        else:
            self.validate()
        if command in ("train", "run"):
            self.train()
        if command in ("eval", "run"):
            self.evaluate()

    def validate(self) -> None:
        """The gate: test suite, then dataset.

        Raises:
            TestSuiteError: the suite failed or nothing in it ran.
            DataError: the dataset has errors.
        """
        validator = self._validator()
        before = self.experiment.dataset.sha256()
        suite = self._run_suite()
        with self.recorder.stage("dataset"):
            result = self._preflight(validator.validate())
        self.recorder.update(validation=sections.validation(suite=suite, dataset=result))
        for line in result.error_lines() if result.error_count > 1 else ():  # one alone is the exception's message
            log.error(line)
        for line in result.warning_lines():
            log.info(line)
        self._save_problems(result)
        result.raise_if_failed()
        if result.sha256 != before:
            raise DataError(
                f"{self.experiment.dataset_path} changed while the test suite ran, which saw another file; run again"
            )
        self._dataset_sha256 = result.sha256
        versions = library_versions(_GATE_PACKAGES)
        self._digests(gate=gate_digest(self.experiment, dataset_sha256=result.sha256, versions=versions))
        tests = f"{suite.passed} tests" if suite.status != "disabled" else "test suite disabled"
        log.info("gate passed: %s, %d rows, sha256 %s", tests, result.rows, result.sha256[:12])

    def train(self) -> TrainingReport:
        """Train on exactly the bytes that passed the gate."""
        recipe = self._recipe()
        data = self._prepare(recipe)
        context = self._training_context(recipe, data)
        self._digests(training=context.training_fingerprint)
        assert self.experiment.pipeline.training is not None  # _recipe() saw to it
        with self.recorder.stage("train"):
            report = create_training_backend(self.experiment.pipeline.training, context).train()
        self.recorder.update(training=sections.training(self.experiment, report, data, self._identity()))
        self._record_environment(report.settings.get("device"))
        if report.step_log is not None and loss_plot(report.step_log, self.recorder.folder / "loss.png"):
            self.recorder.artifact("loss_plot", self.recorder.folder / "loss.png")
        if report.step_log is not None:
            self.recorder.artifact("step_log", report.step_log)
        return report

    def evaluate(self) -> EvaluationReport:
        """Evaluate the adapter, or the base model where the configuration names no adapter."""
        experiment = self.experiment
        if experiment.pipeline.evaluation is None:
            raise ConfigError("evaluation needs the section `evaluation`")
        if experiment.evaluate_base_only:
            log.warning("evaluating the base model alone: evaluation.checkpoint_dir is null")
            adapter = None
        else:
            adapter = experiment.checkpoint_dir
            self._require_adapter(adapter)
        context = GeneratorContext(
            experiment=experiment,
            tokenizer=self._load_tokenizer(),
            adapter=adapter,
            sampling=sampling_of(experiment),
            cache_dir=self.cache_dir,
        )
        predictions = self.recorder.folder / "predictions.jsonl"
        with self.recorder.stage("evaluate"):
            held_out = self._held_out(adapter)
            report = Evaluator(EvaluationContext(self.task, context, held_out, predictions)).evaluate()
        self.recorder.update(evaluation=sections.evaluation(experiment, report, self._identity()))
        self._record_environment(report.settings.get("device"))
        self.recorder.artifact("predictions", predictions)
        if report.base_metrics is not None:
            self.recorder.artifact("base_predictions", predictions.with_name(BASE_PREDICTIONS))
        if report.output is not None:
            self.recorder.artifact("output", report.output)
        if report.confusion and confusion_plot(report.confusion, self.recorder.folder / "confusion.png"):
            self.recorder.artifact("confusion_plot", self.recorder.folder / "confusion.png")
        return report

    def _held_out(self, adapter: Path | None) -> list[dict[str, Any]]:
        """The rows kept from training, where no input file says what to evaluate."""
        experiment = self.experiment
        if experiment.pipeline.evaluation and evaluation_inputs(experiment.pipeline.evaluation):
            return []
        manifest = read_manifest(adapter) if adapter else None
        if manifest and manifest.get("split") != self._split():
            raise EvaluationError(
                f"the adapter in {adapter} was trained with another split of the rows, or on other rows: those held "
                "out now may be rows that it learned; train again, or name evaluation.data_file"
            )
        return held_out_values(experiment, experiment.recipe, self._dataset_sha256)

    def _split(self) -> dict[str, Any]:
        """What decides which rows are held out."""
        data = self._recipe().data
        return {
            "dataset_sha256": self._dataset_sha256,
            "max_examples": self.experiment.pipeline.data_validation.max_examples,
            "seed": data.seed,
            "validation_split": data.validation_split,
        }

    def dry_run(self, *, skip_validation: bool = False) -> None:
        """The gate and the plan, without training; the record holds both."""
        self._record_inputs()
        self._require_what_it_takes("train")
        if skip_validation:
            self._skip_validation()
        else:
            self.validate()
        self._prepare(self._recipe())

    @property
    def cache_dir(self) -> Path:
        """For what can be computed again: `.thinker/cache` beside the pipeline file, or THINKER_CACHE_DIR."""
        return cache_dir(self.experiment.config_path)

    def _require_what_it_takes(self, command: Command) -> None:
        """Refuse now what would fail after the gate, which may take long, as far as nothing heavy need be imported."""
        training = self.experiment.pipeline.training
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise PreconditionError("several processes (torchrun, accelerate) cannot train together yet; start one")
        if command in ("train", "run") and training is not None:
            plugins.resolve("backends", training.backend)
        if command in ("eval", "run"):
            plugins.resolve("generators", generator_name(self.experiment))
        if command == "eval" and not self.experiment.evaluate_base_only:
            self._require_adapter(self.experiment.checkpoint_dir)
        if command != "validate":
            require_packages()

    def _digests(self, **found: str) -> None:
        self.recorder.update(digests={**self.recorder.record.digests.model_dump(), **found})

    def _save_problems(self, result: DatasetValidationResult) -> None:
        """Every problem as a JSON line: the console shows only the first ones."""
        if result.error_count + result.warning_count == 0:
            return
        path = self.recorder.folder / "dataset_problems.jsonl"
        problems = itertools.chain(result.errors, result.warnings)
        try:
            with path.open("w", encoding="utf-8") as file:
                file.writelines(mask(json.dumps(asdict(p), default=str, ensure_ascii=False)) + "\n" for p in problems)
        except OSError as error:  # the data's errors are what matters now
            log.warning("the list of problems is not kept in full in %s: %s", path, error.strerror)
        else:
            self.recorder.artifact("dataset_problems", path)

    def _run_suite(self) -> TestSuiteResult:
        runner = TestSuiteRunner(self.experiment.pipeline.tests)
        output = self.recorder.folder / "pytest.txt"
        with self.recorder.stage("tests"):
            try:
                suite = runner.run(output=output, stream=self._suite_stream or sys.stdout)
            except TestSuiteError as error:
                self.recorder.update(validation=sections.validation(suite=getattr(error, "result", None), failed=True))
                raise
            finally:
                if output.is_file():
                    self.recorder.artifact("pytest_output", output)
        self.recorder.update(validation=sections.validation(suite=suite))
        return suite

    def _validator(self) -> DatasetValidator:
        config = self.experiment.pipeline.data_validation
        return DatasetValidator(
            self.experiment.dataset_path,
            self._schema(),
            max_examples=config.max_examples,
            checks=config.checks,
        )

    def _schema(self) -> tuple[SchemaField, ...]:
        schema = self.experiment.pipeline.data_validation.schema
        return schema if schema is not None else self.task.default_schema

    def _preflight(self, schema_pass: DatasetValidationResult) -> DatasetValidationResult:
        """The checks beyond the schema, added to what the schema's found."""
        experiment = self.experiment
        config = experiment.pipeline.data_validation
        report = Report(experiment.dataset_path, levels(config.checks))
        started = time.perf_counter()
        found = run_preflight(
            experiment.dataset,
            self._schema(),
            self.task,
            checks_for(experiment, self.task),
            report,
            max_examples=config.max_examples,
            expected_sha256=schema_pass.sha256,
        )
        return schema_pass.with_pass(report, found.statistics, time.perf_counter() - started)

    def _skip_validation(self) -> None:
        log.warning("the gate was skipped (--skip-validation): nothing says that these data are fit to train on")
        self.recorder.update(validation=sections.validation(skipped=True))
        self._dataset_sha256 = self.experiment.dataset.sha256()

    def _record_inputs(self) -> None:
        experiment, recipe = self.experiment, self.experiment.recipe
        training, evaluation = experiment.pipeline.training, experiment.pipeline.evaluation
        paths = {"pipeline": experiment.config_path, "dataset": experiment.dataset_path}
        if training is not None:
            paths["recipe"] = training.config_path
        if evaluation is not None:
            paths |= {role: path for role, path in evaluation_inputs(evaluation).items() if path.is_file()}
        seeds = {"data": recipe.data.seed} if recipe else {}
        if evaluation is not None:
            seeds["evaluation"] = evaluation.seed
        self.recorder.update(inputs=sections.inputs(paths), seeds=seeds)
        self._digests(config=config_fingerprint(experiment))
        self._record_environment(None)

    def _record_environment(self, device: str | None) -> None:
        found = environment(device)
        self.recorder.update(environment=found)
        self.recorder.write_json("environment", found.model_dump())

    def _recipe(self) -> Recipe:
        if self.experiment.recipe is None:
            raise ConfigError("training needs the section `training`, which names the LoRA file")
        return self.experiment.recipe

    def _prepare(self, recipe: Recipe) -> PreparedData:
        if self._dataset_sha256 is None:
            raise DataError("the dataset was not checked; call validate() first")
        with self.recorder.stage("encode"):
            data = prepare_data(
                self.experiment,
                recipe,
                self.task,
                self._load_tokenizer(),
                tokenizer_identity=digest(self._identity()),
                dataset_sha256=self._dataset_sha256,
                cache_dir=self.cache_dir,
            )
        plan = sections.plan(data)
        self.recorder.update(plan=plan)
        log.info("plan: %d steps over %d rows, %d held out", plan.steps, plan.rows, plan.held_out_rows)
        return data

    def _training_context(self, recipe: Recipe, data: PreparedData) -> TrainingContext:
        experiment = self.experiment
        assert self._dataset_sha256 is not None  # _prepare() saw to it
        identity = self._identity()
        fingerprint = training_fingerprint(
            experiment,
            dataset_sha256=self._dataset_sha256,
            model_identity=digest(identity),
            versions=library_versions(_TRAINING_PACKAGES),
            hardware=self._hardware(recipe),
            plugins=self._plugin_sources(),
        )
        base_model = {"name": experiment.base_model, "identity": digest(identity), "kind": identity["kind"]}
        return TrainingContext(
            experiment=experiment,
            task=self.task,
            rows=data.rows,
            train_rows=data.train_rows,
            held_out_rows=data.held_out_rows,
            plan=data.plan,
            run_dir=self.recorder.folder,
            cache_dir=self.cache_dir,
            training_fingerprint=fingerprint,
            provenance={
                "base_model": base_model,
                "config_fingerprint": config_fingerprint(experiment),
                "dataset_sha256": self._dataset_sha256,
                "gate_skipped": bool(self.recorder.record.validation and self.recorder.record.validation.skipped),
                "prompt_format": recipe.model.prompt_format,
                "run_id": self.recorder.run_id,
                "split": self._split(),
                "task": self.task.name,
                "training_fingerprint": fingerprint,
                "versions": library_versions(_TRAINING_PACKAGES),
            },
            tokenizer=self._load_tokenizer(),
        )

    def _hardware(self, recipe: Recipe) -> dict[str, str | int]:
        """What the local backend computes on; a service computes elsewhere."""
        training = self.experiment.pipeline.training
        if training is None or training.backend != "hf_peft":
            return {}
        from thinker.modeling.devices import hardware

        return hardware(recipe)

    def _plugin_sources(self) -> dict[str, str | None]:
        """Code that shapes the adapter and may come from elsewhere, by hash."""
        training = self.experiment.pipeline.training
        backend = plugins.resolve("backends", training.backend) if training else None
        return {"task": plugins.source_sha256(self.task), "backend": plugins.source_sha256(backend)}

    def _require_adapter(self, folder: Path | None) -> None:
        from thinker.evaluation.adapter import require_adapter

        if folder is None:
            raise ConfigError("evaluation.checkpoint_dir: nothing names the adapter; give --checkpoint")
        require_adapter(folder)

    def _identity(self) -> dict[str, Any]:
        if self.experiment.base_model is None:
            raise ConfigError("no base model is named: set model.name in the LoRA file or evaluation.base_model")
        recipe = self.experiment.recipe
        return model_identity(self.experiment.base_model, recipe.model.revision if recipe else None)

    def _load_tokenizer(self) -> Any:
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer_of(self.experiment, self.cache_dir)
        return self._tokenizer


def load_tokenizer_of(experiment: Experiment, cache: Path) -> Any:
    """The tokenizer of an experiment's base model.

    Raises:
        PreconditionError: no such model, or the extra `hf` is not installed.
    """
    from thinker.errors import PreconditionError

    try:
        from thinker.modeling.load import ModelSource, load_tokenizer

        recipe = experiment.recipe
        token = recipe.model.hf_token.get_secret_value() if recipe and recipe.model.hf_token else None
        if experiment.base_model is None:
            raise ConfigError("no base model is named: set model.name in the LoRA file or evaluation.base_model")
        return load_tokenizer(
            ModelSource(experiment.base_model, recipe.model.revision if recipe else None, token, cache)
        )
    except ImportError as error:
        raise PreconditionError(f"{error}; {HOW_TO_INSTALL}") from error


def cache_dir(config_path: Path) -> Path:
    """Where the cache of a pipeline file lies: `.thinker/cache` beside it, or THINKER_CACHE_DIR."""
    configured = os.environ.get("THINKER_CACHE_DIR")
    return Path(configured) if configured else config_path.parent / ".thinker" / "cache"
