"""What generates completions, behind one small interface: the local model now, a sampling service, a plugin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from thinker import plugins
from thinker.config.experiment import Experiment


@dataclass(frozen=True)
class Sampling:
    """How a completion is drawn.

    Attributes:
        temperature: 0 takes the likeliest token.
        top_p: nucleus, in (0, 1].
        max_new_tokens: longest completion.
        seed: with a record's id, seeds that record's own generator.
    """

    temperature: float
    top_p: float
    max_new_tokens: int
    seed: int


@dataclass(frozen=True)
class GenerationRequest:
    """One prompt to complete. `prompt_ids` are exactly those that training would see."""

    record_id: str
    prompt_ids: tuple[int, ...]


@dataclass(frozen=True)
class Generation:
    """One completion.

    Attributes:
        text: without the end-of-sequence token.
        token_count: ids generated, end-of-sequence included.
        finished: ended by itself, not by `max_new_tokens`.
    """

    text: str
    token_count: int
    finished: bool


@dataclass(frozen=True)
class GeneratorContext:
    """What a generator is made from.

    Attributes:
        experiment: the configuration.
        tokenizer: of the base model.
        adapter: folder of the adapter; None is the base model alone.
        sampling: how completions are drawn.
        cache_dir: for what can be computed again.
    """

    experiment: Experiment
    tokenizer: Any
    adapter: Path | None
    sampling: Sampling
    cache_dir: Path


class Generator(Protocol):
    """Completes prompts.

    Attributes:
        settings: batch size, device, precision: what the record should say.
    """

    settings: dict[str, Any]

    def generate(self, requests: Sequence[GenerationRequest], *, use_adapter: bool = True) -> list[Generation]:
        """One generation for each request, in order."""
        ...


GeneratorFactory = Callable[[GeneratorContext], Generator]


def create_generator(name: str, context: GeneratorContext) -> Generator:
    """The generator that `evaluation.backend` names.

    Raises:
        ConfigError: no such generator.
    """
    factory: GeneratorFactory = plugins.resolve("generators", name)
    return factory(context)
