"""validate → train → evaluate, each stage leaving its part in the run record."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TextIO

from thinker import plugins
from thinker.config import Experiment
from thinker.config.fingerprint import config_fingerprint, model_identity, training_fingerprint, training_inputs
from thinker.config.optimizers import optimizer_distributions, require_optimizer_package
from thinker.config.recipe_models import Recipe
from thinker.data.prepare import PreparedData, held_out_values, prepare_data
from thinker.errors import ConfigError, DataError, EvaluationError, PreconditionError
from thinker.evaluation.base import GeneratorContext
from thinker.evaluation.evaluator import (
    BASE_PREDICTIONS,
    EvaluationContext,
    EvaluationReport,
    Evaluator,
    generator_name,
    sampling_of,
)
from thinker.files import cache_dir
from thinker.hashing import digest
from thinker.modeling.memory import PeakMemory
from thinker.modeling.packages import HOW_TO_INSTALL, require_packages
from thinker.processes import Team
from thinker.runs import RunRecorder, environment, library_versions, sections
from thinker.runs.models import EstimatesRecord, PlanRecord
from thinker.runs.plots import confusion_plot, loss_plot
from thinker.tasks.base import Task, evaluation_inputs
from thinker.training.base import TrainingContext, TrainingReport, create_training_backend
from thinker.training.estimate import estimate, memory_warnings
from thinker.training.hf_peft.artifacts import read_manifest
from thinker.validation.gate import Gate
from thinker.validation.plugin_code import plugin_files
from thinker.validation.recheck import recheck_tokens
from thinker.validation.reporting import Reporting

log = logging.getLogger("thinker")

Command = Literal["validate", "train", "eval", "run"]
# What an adapter's bits depend on.
_TRAINING_PACKAGES = ("thinker", "torch", "transformers", "peft", "tokenizers", "accelerate", "bitsandbytes")


class ThinkerPipeline:
    """One experiment's stages, run in order and recorded.

    Args:
        experiment: the configuration.
        recorder: of this run.
        suite_stream: where pytest's output is shown; None shows it on standard output.
        reporting: how the dataset's problems are told; None as `Reporting` by default.
        team: the processes that train together; None for this one alone.
    """

    def __init__(
        self,
        experiment: Experiment,
        recorder: RunRecorder,
        *,
        suite_stream: TextIO | None = None,
        reporting: Reporting | None = None,
        team: Team | None = None,
    ) -> None:
        self.experiment, self.recorder, self._team = experiment, recorder, team or Team.alone()
        self.task: Task = plugins.resolve("tasks", experiment.pipeline.task)()
        self._suite_stream, self._reporting = suite_stream, reporting
        self._gate: Gate | None = None
        self._dataset_sha256: str | None = None
        self._tokenizer: Any = None

    def run(self, command: Command, *, skip_validation: bool = False, force: bool = False, fresh: bool = False) -> None:
        """Do what the command line's subcommand of that name does."""
        self._record_inputs()
        self._require_what_it_takes(command)
        self._record_plugins(command)
        if skip_validation:
            self._skip_validation()
        else:
            self.validate(force=force)
        if command in ("train", "run"):
            self.train(fresh=fresh)
        if command in ("eval", "run"):
            self.evaluate()

    def validate(self, *, force: bool = False) -> None:
        """The gate: test suite, then dataset; or the receipt of an earlier pass, unless `force` says to run it.

        Raises:
            TestSuiteError: the suite failed or nothing in it ran.
            DataError: the dataset has errors.
        """
        self._gate = Gate(
            self.experiment, self.task, self.recorder, suite_stream=self._suite_stream, reporting=self._reporting
        )
        with self._team.world.hidden():
            self._gate.run(force=force)
        self._dataset_sha256 = self._gate.dataset_sha256
        self._digests(gate=self._gate.digest)

    def train(self, *, fresh: bool = False) -> TrainingReport:
        """Train on exactly the bytes that passed the gate; `fresh` starts anew, whatever checkpoints there are."""
        recipe = self._recipe()
        data = self._prepare(recipe)
        context = replace(self._training_context(recipe, data), fresh=fresh)
        self._digests(training=context.training_fingerprint)
        assert self.experiment.pipeline.training is not None  # _recipe() saw to it
        predicted = self._estimate(context, probe=False)
        self._team.release({
            "run_id": self.recorder.run_id, "timestamp": self.recorder.record.timestamp,
            "dataset_sha256": self._dataset_sha256, "equal": self._equal_inputs(context),
        })  # fmt: skip
        with self.recorder.stage("train"), PeakMemory() as peak:
            report = create_training_backend(self.experiment.pipeline.training, context).train()
        self.recorder.update(estimates=sections.measured(predicted, report, peak))
        self.recorder.update(training=sections.training(self.experiment, report, data, self._identity(), peak))
        self._record_environment(report.settings.get("device"))
        if report.step_log is not None and loss_plot(report.step_log, self.recorder.folder / "loss.png"):
            self.recorder.artifact("loss_plot", self.recorder.folder / "loss.png")
        if report.step_log is not None:
            self.recorder.artifact("step_log", report.step_log)
        return report

    def train_along(self, facts: dict[str, Any]) -> None:
        """Train as one of several processes, where process 0 has run the gate and keeps the record.

        Args:
            facts: what process 0 says of itself.

        Raises:
            PreconditionError: this process would train on something else.
        """
        self._dataset_sha256 = facts["dataset_sha256"]
        recipe = self._recipe()
        with self._team.first_of_node_first():
            context = self._training_context(recipe, self._prepare(recipe))
        own = self._equal_inputs(context)
        if differing := [name for name, value in own.items() if value != facts["equal"].get(name)]:
            raise PreconditionError(
                f"trains on something else than process 0: {', '.join(differing)}; give all machines the same files, "
                "packages and kind of device"
            )
        assert self.experiment.pipeline.training is not None  # _recipe() saw to it
        create_training_backend(self.experiment.pipeline.training, context).train()

    def _equal_inputs(self, context: TrainingContext) -> dict[str, str]:
        """Digests, by name, of what must be equal in all processes that train together."""
        inputs = {name.replace("_", " "): digest(value) for name, value in self.training_inputs().items()}
        return {**inputs, "encoded rows": context.rows.encoding_sha256}

    def training_inputs(self) -> dict[str, Any]:
        """What the training digest covers, as it is now, but for the dataset, which is the one that was checked."""
        if self._dataset_sha256 is None:
            raise DataError("the dataset was not checked; call validate() first")
        return training_inputs(
            self.experiment,
            dataset_sha256=self._dataset_sha256,
            model_identity=digest(self._identity()),
            versions=library_versions((*_TRAINING_PACKAGES, *optimizer_distributions(self._recipe()))),
            hardware=self._hardware(self._recipe()),
            plugins=self._plugin_sources(),
            world_size=self._team.world.size,
        )

    def begin_replay(self, command: Command, dataset_sha256: str) -> None:
        """In place of the gate, whose verdict is on record: `train` and `evaluate` then refuse any other dataset."""
        self._require_what_it_takes(command)
        self._dataset_sha256 = dataset_sha256

    def plan(self) -> PlanRecord:
        """What training is to do; the rows are encoded for it."""
        self._prepare(self._recipe())
        assert self.recorder.record.plan is not None  # _prepare() saw to it
        return self.recorder.record.plan

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
        with self.recorder.stage("evaluate"), self._team.world.hidden():
            held_out = self._held_out(adapter)
            evaluation = EvaluationContext(self.task, context, held_out, predictions, self._require_same_records)
            report = Evaluator(evaluation).evaluate()
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

    def _require_same_records(self) -> None:
        if self._gate is not None:
            self._gate.require_same_records()

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

    def dry_run(self, *, skip_validation: bool = False, force: bool = False, probe: bool = True) -> None:
        """The gate, the plan and what training will take, without training; the record holds all three.

        A probe trains two steps in a process of its own, and measures them.
        """
        self._record_inputs()
        self._require_what_it_takes("train")
        self._record_plugins("train")
        if skip_validation:
            self._skip_validation()
        else:
            self.validate(force=force)
        recipe = self._recipe()
        context = self._training_context(recipe, self._prepare(recipe))
        self._digests(training=context.training_fingerprint)
        self._estimate(context, probe=probe)

    def _estimate(self, context: TrainingContext, *, probe: bool) -> EstimatesRecord:
        """What training will take, recorded; a warning where it will not fit."""
        with self.recorder.stage("estimate"), self._team.world.hidden():
            found = estimate(context, probe=probe)
        predicted = sections.prediction(found)
        self.recorder.update(estimates=predicted)
        for note in found.notes:  # of a backend that computes elsewhere, nothing was to be expected
            log.log(logging.INFO if found.device is None else logging.WARNING, "%s", note)
        for line in memory_warnings(found, context):
            log.warning("%s", line)
        return predicted

    @property
    def cache_dir(self) -> Path:
        """For what can be computed again: `.thinker/cache` beside the pipeline file, or THINKER_CACHE_DIR."""
        return cache_dir(self.experiment.config_path)

    def _require_what_it_takes(self, command: Command) -> None:
        """Refuse now what would fail after the gate, which may take long, as far as nothing heavy need be imported."""
        training = self.experiment.pipeline.training
        if self._team.world.size > 1 and training is not None and training.backend != "hf_peft":
            raise PreconditionError(
                f"several processes train together with training.backend 'hf_peft' alone, not '{training.backend}'; "
                "start one, without torchrun and accelerate launch"
            )
        for name in self.experiment.pipeline.data_validation.custom_checks:
            plugins.resolve("checks", name)
        if command in ("train", "run") and training is not None:
            plugins.resolve("backends", training.backend)
        if command in ("eval", "run"):
            plugins.resolve("generators", generator_name(self.experiment))
        if command == "eval" and not self.experiment.evaluate_base_only:
            self._require_adapter(self.experiment.checkpoint_dir)
        if command != "validate":
            require_packages()
        if command in ("train", "run") and self.experiment.recipe is not None:
            require_optimizer_package(self.experiment.recipe)

    def _digests(self, **found: str | None) -> None:
        self.recorder.update(digests={**self.recorder.record.digests.model_dump(), **found})

    def _skip_validation(self) -> None:
        log.warning("the gate was skipped (--skip-validation): nothing says that these data are fit to train on")
        self.recorder.update(validation=sections.validation(skipped=True))
        self._dataset_sha256 = self.experiment.dataset.sha256()

    def _record_inputs(self) -> None:
        experiment, recipe = self.experiment, self.experiment.recipe
        training, evaluation = experiment.pipeline.training, experiment.pipeline.evaluation
        files = [("pipeline", experiment.config_path), *(("dataset", path) for path in experiment.dataset.paths)]
        if training is not None:
            files.append(("recipe", training.config_path))
        if evaluation is not None:
            files += [(role, path) for role, path in evaluation_inputs(evaluation).items() if path.is_file()]
        seeds = {"data": recipe.data.seed} if recipe else {}
        if evaluation is not None:
            seeds["evaluation"] = evaluation.seed
        self.recorder.update(inputs=sections.inputs(files), seeds=seeds)
        self._digests(config=config_fingerprint(experiment))
        self._record_environment(None)

    def _record_plugins(self, command: Command) -> None:
        """The source files of task, backend and generator, as far as they do not come with Thinker."""
        used: dict[str, Any] = {"task": self.task}
        training = self.experiment.pipeline.training
        if command in ("train", "run") and training is not None:
            used["backend"] = plugins.resolve("backends", training.backend)
        if command in ("eval", "run"):
            used["generator"] = plugins.resolve("generators", generator_name(self.experiment))
        files = [(role, path) for role, plugin in used.items() for path in plugin_files(plugin)]
        if files:
            self.recorder.update(inputs=[*self.recorder.record.inputs, *sections.inputs(files)])

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
            tokenizer = self._load_tokenizer()
            if self._gate is not None:
                self._gate.require_same_tokenizer()
            data = prepare_data(
                self.experiment,
                recipe,
                self.task,
                tokenizer,
                tokenizer_identity=digest(self._identity()),
                dataset_sha256=self._dataset_sha256,
                cache_dir=self.cache_dir,
                world_size=self._team.world.size,
            )
            if self._gate is not None and self._gate.encoding_sha256 != data.rows.encoding_sha256:
                recheck_tokens(
                    self.experiment,
                    self.task,
                    tokenizer,
                    dataset_sha256=self._dataset_sha256,
                    cache_dir=self.cache_dir,
                    gate_encoding_sha256=self._gate.encoding_sha256,
                )
        plan = sections.plan(data)
        self.recorder.update(plan=plan)
        log.info("plan: %d steps over %d rows, %d held out", plan.steps, plan.rows, plan.held_out_rows)
        return data

    def _training_context(self, recipe: Recipe, data: PreparedData) -> TrainingContext:
        experiment = self.experiment
        assert self._dataset_sha256 is not None  # _prepare() saw to it
        identity = self._identity()
        inputs = self.training_inputs()
        fingerprint = training_fingerprint(inputs)
        self.recorder.update(training_inputs=inputs)
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
            world=self._team.world,
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
