"""The local generator: base model and adapter in this process, in batches of prompts of similar length."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from thinker.config.fingerprint import model_identity
from thinker.errors import ConfigError, EvaluationError, PreconditionError
from thinker.evaluation.adapter import attach, check_base_model, require_adapter, require_effect
from thinker.evaluation.base import Generation, GenerationRequest, Generator, GeneratorContext
from thinker.modeling.packages import HOW_TO_INSTALL
from thinker.progress import track

log = logging.getLogger("thinker")

_CPU_BATCH = 8
_GPU_BATCH = 64
_MEMORY_SHARE = 0.5


def create_generator(context: GeneratorContext) -> Generator:
    """Factory of the generator `hf_peft`.

    Raises:
        PreconditionError: the packages of the extra `hf` are not installed, no such model, no adapter.
        EvaluationError: adapter and base model do not belong together.
    """
    try:
        return LocalGenerator(context)
    except ImportError as error:
        raise PreconditionError(f"{error}; {HOW_TO_INSTALL}") from error


class LocalGenerator:
    """Generates with Transformers, greedily or by nucleus sampling with a generator for each record."""

    def __init__(self, context: GeneratorContext) -> None:
        from thinker.evaluation.base_model import EvaluatedModel
        from thinker.modeling.determinism import prepare, thread_count
        from thinker.modeling.devices import describe

        experiment, evaluation, recipe = (
            context.experiment,
            context.experiment.pipeline.evaluation,
            context.experiment.recipe,
        )
        if experiment.base_model is None or evaluation is None:
            raise ConfigError("evaluation needs a base model")
        self._context, self._tokenizer, self._sampling = context, context.tokenizer, context.sampling
        self._wanted_batch_size = evaluation.batch_size
        self._effect_checked = context.adapter is None
        prepare(evaluation.seed, strict=recipe is None or recipe.training.determinism == "strict")
        base = EvaluatedModel.of(experiment, context.cache_dir)
        revision = recipe.model.revision if recipe else None
        if context.adapter is not None:
            require_adapter(context.adapter)
            check_base_model(context.adapter, experiment.base_model, model_identity(experiment.base_model, revision))
        model = base.load()
        for announcement in base.announcements:
            log.warning(announcement)
        self._stop_ids = _stop_ids(model, context.tokenizer)
        self._model = attach(model, context.adapter) if context.adapter is not None else model
        if evaluation.compare_base and context.adapter is not None:
            _require_separable(self._model)
        self.settings: dict[str, Any] = {
            "device": describe(base.device),
            "dtype": base.dtype,
            "quantization": base.quantization,
            "threads": thread_count(),
            "announcements": list(base.announcements),
        }

    def generate(self, requests: Sequence[GenerationRequest], *, use_adapter: bool = True) -> list[Generation]:
        """One generation for each request, in order; longest prompts first, so that memory runs out early or never."""
        import contextlib

        if not requests:
            return []
        if not self._effect_checked:
            self.settings["adapter_logit_change"] = require_effect(self._model, requests[0].prompt_ids)
            self._effect_checked = True
        longest = max(len(request.prompt_ids) for request in requests)
        size = self._wanted_batch_size or self._batch_size(longest + self._sampling.max_new_tokens)
        self.settings["batch_size"] = size
        by_length = sorted(range(len(requests)), key=lambda index: (-len(requests[index].prompt_ids), index))
        done: dict[int, Generation] = {}
        has_adapter = self._context.adapter is not None
        without = self._model.disable_adapter() if has_adapter and not use_adapter else contextlib.nullcontext()
        label = "evaluate" if use_adapter and has_adapter else "evaluate (base model)"
        with without, track(label, len(requests), "records") as bar:
            for start in range(0, len(by_length), size):
                indices = by_length[start : start + size]
                for index, generation in zip(indices, self._batch([requests[i] for i in indices]), strict=True):
                    done[index] = generation
                bar.advance(len(indices))
        return [done[index] for index in range(len(requests))]

    def _batch(self, requests: list[GenerationRequest]) -> list[Generation]:
        import torch
        from transformers import GenerationConfig, LogitsProcessorList

        from thinker.evaluation.sampling import PerRecordSampling, record_random

        longest = max(len(request.prompt_ids) for request in requests)
        pad_id = next(iter(self._stop_ids))
        rows = [[pad_id] * (longest - len(request.prompt_ids)) + list(request.prompt_ids) for request in requests]
        mask = [[0] * (longest - len(request.prompt_ids)) + [1] * len(request.prompt_ids) for request in requests]
        sampling = self._sampling
        processors = LogitsProcessorList()
        if sampling.temperature > 0:
            randoms = [record_random(sampling.seed, request.record_id) for request in requests]
            processors.append(PerRecordSampling(randoms, sampling.temperature, sampling.top_p))
        with torch.no_grad():
            output = self._model.generate(
                input_ids=torch.tensor(rows, device=self._model.device),
                attention_mask=torch.tensor(mask, device=self._model.device),
                logits_processor=processors,
                generation_config=GenerationConfig(
                    max_new_tokens=sampling.max_new_tokens, do_sample=False, use_cache=True,
                    eos_token_id=sorted(self._stop_ids), pad_token_id=pad_id,
                ),
            )  # fmt: skip
        return [self._generation(ids) for ids in output[:, longest:].tolist()]

    def _generation(self, ids: list[int]) -> Generation:
        """The completion up to its first stop token."""
        end = next((place for place, token in enumerate(ids) if token in self._stop_ids), None)
        kept = ids if end is None else ids[:end]
        text = self._tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return Generation(text, len(kept) + (end is not None), end is not None)

    def _batch_size(self, length: int) -> int:
        """Rows whose keys, values and logits fit half the free memory, up to a bound past which nothing is gained."""
        import psutil
        import torch

        config = self._model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        element_bytes = self._model.dtype.itemsize
        row_bytes = 2 * config.num_hidden_layers * heads * head_dim * element_bytes * length
        # Logits of one position in the model's precision, and in float64 with their order while sampling.
        row_bytes += (
            config.vocab_size * (element_bytes + 32)
            + 4 * length * (getattr(config, "intermediate_size", None) or 4 * config.hidden_size) * element_bytes
        )
        if self._model.device.type == "cuda":
            free_bytes, bound = torch.cuda.mem_get_info(self._model.device)[0], _GPU_BATCH
        else:
            free_bytes, bound = psutil.virtual_memory().available, _CPU_BATCH
        return max(1, min(bound, int(free_bytes * _MEMORY_SHARE / row_bytes)))


def _require_separable(model: Any) -> None:
    """Refuse to compare with a base model that the adapter cannot be taken off from."""
    bias = model.peft_config["default"].bias
    if bias != "none":
        raise EvaluationError(
            f"evaluation.compare_base: the adapter also trains biases (lora.bias: {bias}), which cannot be switched "
            "off; evaluate the base model on its own, with evaluation.checkpoint_dir: null"
        )


def _stop_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokenizer's end-of-sequence, and what the model's own generation settings stop at.

    The rest of those settings (repetition penalty, temperature, …) must not leak into ours and is put away.
    """
    from transformers import GenerationConfig

    own = getattr(model.generation_config, "eos_token_id", None)
    model.generation_config = GenerationConfig()
    extra = [own] if isinstance(own, int) else list(own or ())
    return frozenset({tokenizer.eos_token_id, *extra})
