"""The optimizers and learning-rate schedules of Transformers, as far as they are checked before it is imported.

Tests hold both tables against the installed Transformers.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from thinker.config.recipe_models import Recipe
from thinker.errors import PreconditionError

_FULL_WEIGHTS: Final = "projects the gradients of whole weight matrices, and an adapter's matrices are small already"
_DURING_BACKWARD: Final = "updates weights during the backward pass, before the gradients of a step have been summed"
_PAGED: Final = "paged_"


@dataclass(frozen=True)
class Optimizer:
    """What is to be known of an optimizer before it is made.

    Attributes:
        state_bytes: what it keeps for each trained parameter; of one that factors its state, a bound.
        arguments: keys of `training.optim_args` that it reads.
        package: that it needs beyond the extra `hf`, as it is imported.
        install: name of that package for pip, where it is another.
        refused: why it cannot train an adapter here.
    """

    state_bytes: float
    arguments: tuple[str, ...] = ()
    package: str | None = None
    install: str | None = None
    refused: str = ""


_ADEMAMIX: Final = ("beta1", "beta2", "beta3", "alpha", "eps", "t_alpha", "t_beta3")
_TORCHAO: Final = ("bf16_stochastic_round",)
_SCHEDULE_FREE: Final = ("weight_lr_power", "r")
OPTIMIZERS: Final[dict[str, Optimizer]] = {
    "adamw_torch": Optimizer(8),
    "adamw_torch_fused": Optimizer(8),
    "adamw_torch_xla": Optimizer(8, refused="needs a TPU, which Thinker does not drive"),
    "adamw_torch_npu_fused": Optimizer(8, refused="needs an Ascend NPU, which Thinker does not drive"),
    "adafactor": Optimizer(1),
    "adamw_anyprecision": Optimizer(
        8, ("use_kahan_summation", "momentum_dtype", "variance_dtype", "compensation_buffer_dtype"), "torchdistx"
    ),
    "adamw_torch_4bit": Optimizer(1, _TORCHAO, "torchao"),
    "adamw_torch_8bit": Optimizer(2, _TORCHAO, "torchao"),
    "ademamix": Optimizer(12, _ADEMAMIX, "bitsandbytes"),
    "sgd": Optimizer(0, ("momentum", "dampening", "nesterov")),
    "adagrad": Optimizer(4, ("lr_decay", "eps")),
    "adamw_bnb_8bit": Optimizer(2, package="bitsandbytes"),
    "adamw_8bit": Optimizer(2, package="bitsandbytes"),
    "ademamix_8bit": Optimizer(3, _ADEMAMIX, "bitsandbytes"),
    "lion_8bit": Optimizer(1, package="bitsandbytes"),
    "lion_32bit": Optimizer(4, package="bitsandbytes"),
    "paged_adamw_32bit": Optimizer(8, package="bitsandbytes"),
    "paged_adamw_8bit": Optimizer(2, package="bitsandbytes"),
    "paged_ademamix_32bit": Optimizer(12, _ADEMAMIX, "bitsandbytes"),
    "paged_ademamix_8bit": Optimizer(3, _ADEMAMIX, "bitsandbytes"),
    "paged_lion_32bit": Optimizer(4, package="bitsandbytes"),
    "paged_lion_8bit": Optimizer(1, package="bitsandbytes"),
    "rmsprop": Optimizer(4, ("momentum", "alpha", "eps", "centered")),
    "rmsprop_bnb": Optimizer(4, package="bitsandbytes"),
    "rmsprop_bnb_8bit": Optimizer(1, package="bitsandbytes"),
    "rmsprop_bnb_32bit": Optimizer(4, package="bitsandbytes"),
    "galore_adamw": Optimizer(8, refused=_FULL_WEIGHTS),
    "galore_adamw_8bit": Optimizer(2, refused=_FULL_WEIGHTS),
    "galore_adafactor": Optimizer(1, refused=_FULL_WEIGHTS),
    "galore_adamw_layerwise": Optimizer(8, refused=_FULL_WEIGHTS),
    "galore_adamw_8bit_layerwise": Optimizer(2, refused=_FULL_WEIGHTS),
    "galore_adafactor_layerwise": Optimizer(1, refused=_FULL_WEIGHTS),
    "lomo": Optimizer(0, refused=_DURING_BACKWARD),
    "adalomo": Optimizer(1, refused=_DURING_BACKWARD),
    "grokadamw": Optimizer(
        12, ("alpha_init", "lamb", "gamma", "grokking_signal_decay_rate", "gradient_clipping"), "grokadamw"
    ),
    "schedule_free_radam": Optimizer(8, _SCHEDULE_FREE, "schedulefree"),
    "schedule_free_adamw": Optimizer(8, _SCHEDULE_FREE, "schedulefree"),
    "schedule_free_sgd": Optimizer(4, _SCHEDULE_FREE, "schedulefree"),
    "apollo_adamw": Optimizer(8, refused=_FULL_WEIGHTS),
    "apollo_adamw_layerwise": Optimizer(8, refused=_FULL_WEIGHTS),
    "stable_adamw": Optimizer(8, ("decouple_lr", "max_lr", "kahan_sum"), "optimi", "torch-optimi"),
}
SCHEDULES: Final = (
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt",
    "reduce_lr_on_plateau", "cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay", "greedy",
)  # fmt: skip
# These follow the evaluation loss, one change at each evaluation.
FOLLOW_THE_LOSS: Final = ("reduce_lr_on_plateau", "greedy")
WITHOUT_WARMUP: Final = ("constant", *FOLLOW_THE_LOSS)
WITHOUT_ARGUMENTS: Final = ("constant", "constant_with_warmup")


def require_optimizer_package(recipe: Recipe) -> None:
    """See that the optimizer's package is installed; it is not imported.

    Raises:
        PreconditionError: it is not.
    """
    name = recipe.training.optim
    optimizer = OPTIMIZERS[name]
    if optimizer.package is not None and find_spec(optimizer.package) is None:
        raise PreconditionError(
            f"training.optim: '{name}' needs the package {optimizer.package}, which is not installed: "
            f"pip install {optimizer.install or optimizer.package}; or choose adamw_torch"
        )


def optimizer_distributions(recipe: Recipe) -> tuple[str, ...]:
    """The package of the optimizer, as pip knows it, where it needs one."""
    optimizer = OPTIMIZERS[recipe.training.optim]
    return (optimizer.install or optimizer.package,) if optimizer.package else ()


def optimizer_on(device_type: str, name: str) -> tuple[str, tuple[str, ...]]:
    """The optimizer that `training.optim` means on a device, and what is announced where that is another one.

    A paged optimizer moves its state to the host's memory when the GPU's runs out; elsewhere there is nothing to move.
    """
    if device_type == "cuda" or not name.startswith(_PAGED):
        return name, ()
    unpaged = {"paged_adamw_32bit": "adamw_torch", "paged_ademamix_32bit": "ademamix"}.get(name, name[len(_PAGED) :])
    return unpaged, (f"training.optim: {name} pages memory of a CUDA device; on {device_type} it is {unpaged}",)
