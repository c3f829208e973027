"""What the types of single keys of the LoRA file cannot say; see `rules` for the pipeline file's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from thinker.config.optimizers import FOLLOW_THE_LOSS, OPTIMIZERS, SCHEDULES, WITHOUT_ARGUMENTS, WITHOUT_WARMUP
from thinker.config.problems import KeyPath, Problem
from thinker.config.recipe_models import CHANGE_THE_BASE, FIRST_WEIGHTS
from thinker.config.rules import regular_expression
from thinker.config.shape import suggestion
from thinker.config.source import ConfigSource


def lora_rules(source: ConfigSource) -> Iterator[Problem]:
    """What is wrong with the LoRA file beyond its shape."""
    if source.get("training", "fp16") is True and source.get("training", "bf16") is True:
        yield source.problem(("training", "bf16"), "fp16 and bf16 exclude each other; set one of them to true")
    yield from _layers(source)
    yield from _first_weights(source)
    yield from _optimizer(source)
    yield from _schedule(source)
    yield from _evaluation(source)


def _layers(source: ConfigSource) -> Iterator[Problem]:
    modules: KeyPath = ("lora", "target_modules")
    targets = source.get(*modules)
    if targets in ([], ""):
        yield source.problem(modules, "is empty: no layer would get an adapter")
    for key in ("target_modules", "exclude_modules"):
        yield from regular_expression(source, ("lora", key))
    for key in ("rank_pattern", "alpha_pattern"):
        patterns = source.get("lora", key)
        for name in patterns if isinstance(patterns, dict) else ():
            if isinstance(name, str) and (message := _no_expression(name)):
                yield source.problem(("lora", key, name), message)
    blocks, pattern = source.get("lora", "layers_to_transform"), source.get("lora", "layers_pattern")
    if isinstance(targets, str):
        for key, value in (("layers_to_transform", blocks), ("layers_pattern", pattern)):
            if value is not None:
                what = f"has no effect where target_modules is an expression ('{targets}'); name the layers in a list"
                yield source.problem(("lora", key), what)
    elif blocks == []:
        yield source.problem(("lora", "layers_to_transform"), "is empty: no layer would get an adapter")
    elif pattern is not None and blocks is None:
        yield source.problem(("lora", "layers_pattern"), "has no effect without layers_to_transform")


def _no_expression(text: str) -> str | None:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        return f"not a regular expression: {error}"
    return None


def _first_weights(source: ConfigSource) -> Iterator[Problem]:
    path: KeyPath = ("lora", "init_lora_weights")
    first, quantization = source.get(*path), source.get("model", "quantization")
    if source.get("lora", "use_dora") is True and quantization == "8bit":
        what = "DoRA reads the base model's weights at every step, which fails with 8-bit ones; take 4bit or none"
        yield source.problem(("lora", "use_dora"), what)
    if not isinstance(first, str):
        return
    if not re.fullmatch(FIRST_WEIGHTS, first):
        known = "true, false, gaussian, orthogonal, olora, pissa or pissa_niter_N"
        yield source.problem(path, f"unknown name '{first}' (known: {known}, where N is a number of iterations)")
    if first == "orthogonal" and quantization in ("4bit", "8bit"):
        yield source.problem(path, f"'orthogonal' needs a base model that is not quantized ({quantization})")
    if first.startswith(CHANGE_THE_BASE) and quantization in ("4bit", "8bit"):
        yield source.problem(
            path,
            f"'{first}' takes a part out of the base model's weights, which cannot be given back to a base model that "
            f"is quantized ({quantization}); set model.quantization to none, or take another",
        )
    if first == "orthogonal":
        ranks = source.get("lora", "rank_pattern")
        every = [source.get("lora", "r"), *(ranks.values() if isinstance(ranks, dict) else ())]
        if odd := [rank for rank in every if isinstance(rank, int) and rank % 2]:
            yield source.problem(path, f"'orthogonal' needs even ranks, not {odd[0]}")


def _optimizer(source: ConfigSource) -> Iterator[Problem]:
    path: KeyPath = ("training", "optim")
    name = source.get(*path) if source.has(*path) else "adamw_torch"
    if not isinstance(name, str):
        return
    if (optimizer := OPTIMIZERS.get(name)) is None:
        # What other libraries call it is nearer, by its letters, to optimizers that no one means.
        is_adam = re.fullmatch(r"adam_?w?(_hf)?", name)
        near = ", did you mean 'adamw_torch'?" if is_adam else _near(name, OPTIMIZERS)
        yield source.problem(path, f"unknown name '{name}'{near}")
    elif optimizer.refused:
        yield source.problem(path, f"'{name}' {optimizer.refused}; take another, such as adamw_torch or adamw_8bit")
    else:
        yield from _known_arguments(source, ("training", "optim_args"), name, optimizer.arguments)


def _known_arguments(source: ConfigSource, path: KeyPath, of: str, known: tuple[str, ...]) -> Iterator[Problem]:
    given = source.get(*path)
    for key in given if isinstance(given, dict) else ():
        if isinstance(key, str) and key not in known:
            near = suggestion(key, known) or f" (it takes: {', '.join(known) or 'none'})"
            yield Problem(source.key_place((*path, key)), f"'{of}' has no such argument{near}", (*path, key))


def _schedule(source: ConfigSource) -> Iterator[Problem]:
    path: KeyPath = ("training", "lr_scheduler_type")
    name: Any = source.get(*path) if source.has(*path) else "linear"
    steps, ratio = source.get("training", "warmup_steps"), source.get("training", "warmup_ratio")
    if steps and ratio:
        yield source.problem(("training", "warmup_ratio"), "warmup_steps is given too; leave one of the two out")
    if not isinstance(name, str):
        return
    if name not in SCHEDULES:
        yield source.problem(path, f"unknown name '{name}'{_near(name, SCHEDULES)}")
    if name in WITHOUT_WARMUP:
        for key, value in (("warmup_steps", steps), ("warmup_ratio", ratio)):
            if value:
                yield source.problem(("training", key), f"the schedule '{name}' has no warm-up{_with_warmup(name)}")
    if name in WITHOUT_ARGUMENTS:
        yield from _known_arguments(source, ("training", "lr_scheduler_kwargs"), name, ())
    if name in FOLLOW_THE_LOSS:
        yield from _needs_evaluation(source, path, f"the schedule '{name}' follows the evaluation loss")


def _with_warmup(name: str) -> str:
    return "; constant_with_warmup has one" if name == "constant" else ""


def _evaluation(source: ConfigSource) -> Iterator[Problem]:
    patience: KeyPath = ("training", "early_stopping_patience")
    if source.get(*patience) is not None:
        yield from _needs_evaluation(source, patience, "early stopping watches the evaluation loss")
    elif source.get("training", "early_stopping_threshold"):
        yield source.problem(("training", "early_stopping_threshold"), "has no effect without early_stopping_patience")
    best: KeyPath = ("training", "load_best_model_at_end")
    if source.get(*best) is True:
        yield from _needs_evaluation(source, best, "the best adapter is that of the lowest evaluation loss")


def _needs_evaluation(source: ConfigSource, path: KeyPath, why: str) -> Iterator[Problem]:
    if not source.get("data", "validation_split"):
        yield source.problem(path, f"{why}, and no rows are held out: set data.validation_split, to 0.1 for example")
    if source.get("output", "eval_strategy") == "no":
        yield source.problem(path, f"{why}, which output.eval_strategy 'no' leaves out; set it to steps or epoch")


def _near(name: str, known: Iterable[str]) -> str:
    return suggestion(name, known) or f" (Transformers knows: {', '.join(known)})"
