"""The tables of optimizers and schedules say what the installed Transformers does."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
import torch
from support.project import Project
from support.training_context import row, training_context
from transformers import Trainer
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames

from thinker.config.optimizers import (
    FOLLOW_THE_LOSS,
    OPTIMIZERS,
    SCHEDULES,
    WITHOUT_ARGUMENTS,
    optimizer_on,
    require_optimizer_package,
)
from thinker.errors import ConfigError, PreconditionError
from thinker.modeling.devices import Precision
from thinker.training.hf_peft.arguments import training_arguments

HERE = [
    name for name, known in OPTIMIZERS.items()
    if not known.refused and (known.package is None or find_spec(known.package))
]  # fmt: skip
ARGUMENTS: dict[str, Any] = {"nesterov": True, "centered": True, "t_alpha": 7, "t_beta3": 7, "dampening": 0.3}
NEEDED = {
    "warmup_stable_decay": "{num_decay_steps: 1}", "cosine_with_min_lr": "{min_lr: 0.001}",
    "cosine_warmup_with_min_lr": "{min_lr_rate: 0.1}", "cosine_with_restarts": "{num_cycles: 2}",
    "polynomial": "{power: 2.0}", "reduce_lr_on_plateau": "{factor: 0.5}", "greedy": "{factor: 0.5}",
}  # fmt: skip


def arguments(project: Project, *overrides: str) -> Any:
    context = training_context(project, [row(8)] * 4, *overrides)
    assert context.experiment.recipe is not None
    return training_arguments(
        context.experiment.recipe, context.plan, output_dir=project.root / "steps", device=torch.device("cpu"),
        precision=Precision("float32", "float32"), evaluates=True,
    )  # fmt: skip


def optimizer(settings: Any, layer: torch.nn.Module) -> torch.optim.Optimizer:
    kind, keywords = Trainer.get_optimizer_cls_and_kwargs(settings, layer)  # type: ignore[arg-type]
    made: torch.optim.Optimizer = kind(layer.parameters(), **keywords)
    return made


def test_the_tables_have_every_name_of_transformers() -> None:
    assert list(OPTIMIZERS) == [name.value for name in OptimizerNames]
    assert list(SCHEDULES) == [name.value for name in SchedulerType]


@pytest.mark.parametrize("name", HERE)
def test_an_optimizer_steps_on_cpu_and_keeps_as_much_as_the_table_says(project: Project, name: str) -> None:
    layer = torch.nn.Linear(512, 256, bias=False)
    before = layer.weight.clone()
    made = optimizer(arguments(project, f"training.optim={name}"), layer)
    layer(torch.randn(4, 512)).square().sum().backward()
    made.step()
    assert not torch.equal(layer.weight, before)
    kept = sum(value.nbytes for value in made.state[layer.weight].values() if isinstance(value, torch.Tensor))
    stated = OPTIMIZERS[optimizer_on("cpu", name)[0]].state_bytes
    assert OPTIMIZERS[name].state_bytes == stated
    per_weight = kept / layer.weight.numel()
    assert per_weight <= stated if name == "adafactor" else per_weight == pytest.approx(stated, abs=0.1)


@pytest.mark.parametrize("name", [name for name in HERE if OPTIMIZERS[name].arguments])
def test_an_optimizer_reads_the_arguments_of_the_table(project: Project, name: str) -> None:
    _, plain = Trainer.get_optimizer_cls_and_kwargs(arguments(project, f"training.optim={name}"))
    for key in OPTIMIZERS[name].arguments:
        given = f"training.optim_args={{{key}: {str(ARGUMENTS.get(key, 0.25)).lower()}}}"
        _, changed = Trainer.get_optimizer_cls_and_kwargs(arguments(project, f"training.optim={name}", given))
        assert changed != plain, key


def test_adams_constants_reach_it(project: Project) -> None:
    settings = arguments(project, "training.adam_beta1=0.8", "training.adam_beta2=0.95", "training.adam_epsilon=1e-6")
    group = optimizer(settings, torch.nn.Linear(2, 2)).param_groups[0]
    assert (group["betas"], group["eps"]) == ((0.8, 0.95), 1e-6)


@pytest.mark.parametrize("name", ["paged_adamw_32bit", "paged_lion_8bit", "paged_ademamix_32bit"])
def test_a_paged_optimizer_is_another_where_there_is_nothing_to_page(name: str) -> None:
    found, (said,) = optimizer_on("cpu", name)
    assert found in OPTIMIZERS
    assert not found.startswith("paged_")
    assert said == f"training.optim: {name} pages memory of a CUDA device; on cpu it is {found}"
    assert optimizer_on("cuda", name) == (name, ())


@pytest.mark.skipif(find_spec("grokadamw") is not None, reason="it is installed")
def test_an_optimizer_without_its_package_is_refused_with_what_to_install(project: Project) -> None:
    recipe = training_context(project, [row(8)], "training.optim=grokadamw").experiment.recipe
    assert recipe is not None
    with pytest.raises(PreconditionError, match=r"training\.optim: 'grokadamw' needs .* pip install grokadamw; or"):
        require_optimizer_package(recipe)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_can_be_had(project: Project, name: str) -> None:
    settings = [f"training.lr_scheduler_type={name}"]
    if name in FOLLOW_THE_LOSS:
        settings.append("data.validation_split=0.5")
    if name not in WITHOUT_ARGUMENTS:
        settings.append(f"training.lr_scheduler_kwargs={NEEDED.get(name, '{}')}")
    assert arguments(project, *settings).lr_scheduler_type.value == name


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [("warmup_stable_decay", "{}", "num_decay_steps"), ("cosine", "{cycles: 2}", "cycles"),
     ("cosine_with_min_lr", "{}", "One of min_lr or min_lr_rate")],
)  # fmt: skip
def test_arguments_that_a_schedule_refuses_are_an_error_at_once(
    project: Project, name: str, given: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=rf"lr_scheduler_kwargs: the schedule '{name}' cannot be made: .*{said}"):
        arguments(project, f"training.lr_scheduler_type={name}", f"training.lr_scheduler_kwargs={given}")


def test_a_warm_up_may_be_a_fraction_of_all_steps(project: Project) -> None:
    steps = ["training.num_epochs=10", "training.gradient_accumulation_steps=1"]
    assert arguments(project, *steps, "training.warmup_ratio=0.12").warmup_steps == 3  # of 20, rounded up
