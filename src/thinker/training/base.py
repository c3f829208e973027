"""What every training backend is given and gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from thinker import plugins
from thinker.config.experiment import Experiment
from thinker.config.pipeline_models import TrainingConfig
from thinker.processes.world import World
from thinker.training.performance import Performance

if TYPE_CHECKING:
    from thinker.data.encoded_rows import EncodedRows
    from thinker.data.plan import Plan
    from thinker.tasks.base import Task


@dataclass(frozen=True)
class TrainingContext:
    """Everything a backend needs, computed once by Thinker.

    Attributes:
        experiment: the configuration; the recipe is there.
        task: what is learned.
        rows: the encoded rows.
        train_rows: for each row of the plan, its index in `rows`.
        held_out_rows: indices in `rows` for the evaluation loss.
        plan: the optimizer steps.
        run_dir: where the step log goes.
        cache_dir: for what can be computed again.
        training_fingerprint: what shapes the adapter, as a hash.
        provenance: what the model card says about where the adapter comes from.
        tokenizer: of the base model, as loaded for encoding.
        world: this process among those that train together.
        fresh: start anew, whatever checkpoints there are.
    """

    experiment: Experiment
    task: Task
    rows: EncodedRows
    train_rows: Sequence[int]
    held_out_rows: Sequence[int]
    plan: Plan
    run_dir: Path
    cache_dir: Path
    training_fingerprint: str
    provenance: Mapping[str, Any]
    tokenizer: Any
    world: World = field(default_factory=World)
    fresh: bool = False


@dataclass(frozen=True)
class TrainingReport:
    """What training did.

    Attributes:
        checkpoint_dir: folder with the adapter.
        metrics: figures by name; `loss` is the mean over all steps, `eval_loss` that of the adapter as saved.
        backend: that trained.
        adapter_sha256: of the adapter's weights file.
        steps: optimizer steps done.
        settings: what the hardware and the rules made of the configuration, for the record.
        step_log: JSONL file, one line for each step.
        resumed_from: the checkpoint that training went on from.
        stopped_early: whether training ended before the plan did.
        best_step: optimizer step of the lowest evaluation loss; None where there was no evaluation.
        best_saved: whether the adapter is the one of that step.
        performance: speed and time; None where the backend does not say.
    """

    checkpoint_dir: Path
    metrics: dict[str, float]
    backend: str
    adapter_sha256: str = ""
    steps: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    step_log: Path | None = None
    resumed_from: Path | None = None
    stopped_early: bool = False
    best_step: int | None = None
    best_saved: bool = False
    performance: Performance | None = None


class TrainingBackend(Protocol):
    """Trains an adapter. Made by a factory `(config, context) -> TrainingBackend`, which a plugin registers."""

    def train(self) -> TrainingReport:
        """Follow the plan and leave the adapter in the checkpoint folder."""
        ...


BackendFactory = Callable[[TrainingConfig, TrainingContext], TrainingBackend]


def create_training_backend(config: TrainingConfig, context: TrainingContext) -> TrainingBackend:
    """The backend that `config.backend` names.

    Raises:
        ConfigError: no such backend.
    """
    factory: BackendFactory = plugins.resolve("backends", config.backend)
    return factory(config, context)
