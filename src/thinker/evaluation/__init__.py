"""Evaluation: generators behind one interface, metrics by task."""

from thinker.evaluation.base import Generation, GenerationRequest, Generator, GeneratorContext, Sampling
from thinker.evaluation.evaluator import EvaluationContext, EvaluationReport, Evaluator

__all__ = [
    "EvaluationContext",
    "EvaluationReport",
    "Evaluator",
    "Generation",
    "GenerationRequest",
    "Generator",
    "GeneratorContext",
    "Sampling",
]
