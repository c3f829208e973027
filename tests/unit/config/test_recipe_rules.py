"""Rules between keys of the LoRA file: each tells the place and what to do."""

from __future__ import annotations

import pytest
from config_project import Project

from thinker.errors import ConfigError

HELD_OUT = "data.validation_split=0.5"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["training.optim=adamw_touch"], "training.optim: unknown name 'adamw_touch', did you mean 'adamw_torch'?"),
        (["training.optim=adamw"], "training.optim: unknown name 'adamw', did you mean 'adamw_torch'?"),
        (["training.optim=zzz"], "training.optim: unknown name 'zzz' (Transformers knows: adamw_torch, "),
        (["training.optim=galore_adamw"], "'galore_adamw' projects the gradients of whole weight matrices"),
        (["training.optim=lomo"], "'lomo' updates weights during the backward pass"),
        (["training.optim=adamw_torch_xla"], "needs a TPU, which Thinker does not drive; take another"),
        (
            ["training.optim=sgd", "training.optim_args={momentun: 0.9}"],
            "'sgd' has no such argument, did you mean 'momentum'",
        ),
        (["training.optim_args={rank: 4}"], "'adamw_torch' has no such argument (it takes: none)"),
        (["training.lr_scheduler_type=cosin"], "unknown name 'cosin', did you mean 'cosine'?"),
        (
            ["training.lr_scheduler_type=constant", "training.warmup_steps=2"],
            "has no warm-up; constant_with_warmup has one",
        ),
        (
            ["training.lr_scheduler_type=constant", "training.lr_scheduler_kwargs={a: 1}"],
            "'constant' has no such argument",
        ),
        (
            ["training.warmup_steps=2", "training.warmup_ratio=0.1"],
            "warmup_steps is given too; leave one of the two out",
        ),
        (["training.lr_scheduler_type=greedy"], "follows the evaluation loss, and no rows are held out"),
        (["training.early_stopping_patience=2"], "no rows are held out: set data.validation_split"),
        (["training.load_best_model_at_end=true"], "no rows are held out: set data.validation_split"),
        ([HELD_OUT, "training.load_best_model_at_end=true", "output.eval_strategy='no'"], "output.eval_strategy 'no'"),
        (["training.early_stopping_threshold=0.1"], "has no effect without early_stopping_patience"),
        (["lora.init_lora_weights=pizza"], "unknown name 'pizza' (known: true, false, gaussian, "),
        (
            ["lora.init_lora_weights=pissa", "model.quantization=4bit"],
            "cannot be given back to a base model that is quantized",
        ),
        (
            ["lora.init_lora_weights=olora", "model.quantization=8bit"],
            "cannot be given back to a base model that is quantized",
        ),
        (["lora.init_lora_weights=orthogonal", "lora.r=3"], "'orthogonal' needs even ranks, not 3"),
        (["lora.init_lora_weights=orthogonal", "model.quantization=4bit"], "needs a base model that is not quantized"),
        (["lora.use_dora=true", "model.quantization=8bit"], "fails with 8-bit ones; take 4bit or none"),
        (["lora.rank_pattern={'(': 4}"], "lora.rank_pattern.(: not a regular expression"),
        (["lora.exclude_modules='('"], "lora.exclude_modules: not a regular expression"),
        (
            ["lora.target_modules=all-linear", "lora.layers_to_transform=[1]"],
            "has no effect where target_modules is an",
        ),
        (["lora.layers_pattern=h"], "lora.layers_pattern: has no effect without layers_to_transform"),
        (["lora.layers_to_transform=[]"], "is empty: no layer would get an adapter"),
        (["lora.layers_to_transform=[a]"], "lora.layers_to_transform[0]: expected an integer"),
    ],
)
def test_what_does_not_go_together_is_refused(project: Project, settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        project.load(overrides=settings)
    assert message in str(caught.value)
    assert len(caught.value.problems) == 1


def test_early_stopping_without_held_out_rows_is_refused_where_it_stands(project: Project) -> None:
    project.lora("training:\n  early_stopping_patience: 2\n", "training:\n")
    with pytest.raises(
        ConfigError, match=r"lora\.yaml:\d+:28: training\.early_stopping_patience: early stopping watches"
    ):
        project.load()


@pytest.mark.parametrize(
    "settings",
    [
        [HELD_OUT, "training.early_stopping_patience=2", "training.early_stopping_threshold=0.1"],
        [HELD_OUT, "training.lr_scheduler_type=reduce_lr_on_plateau", "output.eval_strategy=epoch"],
        ["training.optim=sgd", "training.optim_args={momentum: 0.9, nesterov: true}"],
        ["lora.init_lora_weights=pissa_niter_16", "lora.rank_pattern={q_proj: 2}", "lora.modules_to_save=[lm_head]"],
        ["lora.init_lora_weights=false", "lora.layers_to_transform=[0, 1]", "lora.layers_pattern=layers"],
        ["training.warmup_ratio=0.1", "training.lr_scheduler_type=cosine_with_restarts"],
        ["output.save_strategy='no'", "output.eval_strategy=epoch"],
    ],
)
def test_what_goes_together_is_taken(project: Project, settings: list[str]) -> None:
    assert project.load(overrides=settings).recipe is not None
