"""Training: one interface, one registry of backends."""

from thinker.training.base import TrainingBackend, TrainingContext, TrainingReport, create_training_backend

__all__ = ["TrainingBackend", "TrainingContext", "TrainingReport", "create_training_backend"]
