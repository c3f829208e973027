"""The local backend: Hugging Face Transformers and PEFT, on CPU, one GPU or many."""

from __future__ import annotations

from thinker.config.pipeline_models import TrainingConfig
from thinker.training.base import TrainingBackend, TrainingContext


def create_backend(config: TrainingConfig, context: TrainingContext) -> TrainingBackend:
    """Factory of the backend `hf_peft`.

    Raises:
        PreconditionError: the packages of the extra `hf` are not installed.
    """
    from thinker.training.hf_peft.backend import HfPeftBackend

    return HfPeftBackend(context)
