"""What a plan makes a model do: its micro-batches, their shapes, and what a shape costs in work and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from thinker.config.recipe_models import OutputConfig
from thinker.data.encoded_rows import EncodedRows
from thinker.data.plan import Plan
from thinker.training.base import TrainingContext


@dataclass(frozen=True)
class BatchShape:
    """What the work and the memory of a micro-batch follow from.

    Attributes:
        lengths: of its rows, in tokens.
        targets: tokens that carry loss, in all rows.
    """

    lengths: tuple[int, ...]
    targets: int

    @property
    def tokens(self) -> int:
        """Of all rows."""
        return sum(self.lengths)

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return max(self.lengths)


@dataclass(frozen=True)
class MicroBatch:
    """Rows that go through the model together (indices in the encoded rows)."""

    rows: tuple[int, ...]
    shape: BatchShape


@dataclass(frozen=True)
class Dimensions:
    """A model's size, as far as work and memory follow from it.

    Attributes:
        vocabulary: ids that the head scores.
        layers: transformer blocks.
        attention_width: heads · head size, of one layer.
        linear_parameters: of the matrices that every token goes through, the head left out.
        head_parameters: of the matrix that makes logits.
        base_parameters: all of the base model's.
        base_bytes: what they take as trained on, quantized or not.
        trained_parameters: the adapter's.
    """

    vocabulary: int
    layers: int
    attention_width: int
    linear_parameters: int
    head_parameters: int
    base_parameters: int
    base_bytes: int
    trained_parameters: int

    def forward_flops(self, shape: BatchShape) -> int:
        """Floating-point operations of a forward pass: two for each multiplication with a matrix's element.

        Narayanan et al. 2021, "Efficient Large-Scale Language Model Training on GPU Clusters", appendix: matrices,
        attention's two products, and the head, which here sees the trained positions alone.
        """
        matrices = 2 * self.linear_parameters * shape.tokens
        attention = 4 * self.layers * self.attention_width * sum(length**2 for length in shape.lengths)
        return matrices + attention + 2 * self.head_parameters * shape.targets

    def training_flops(self, shape: BatchShape, *, checkpointing: bool) -> int:
        """Forward and backward pass. Frozen matrices need no gradient of their own, attention's operands do."""
        attention = 4 * self.layers * self.attention_width * sum(length**2 for length in shape.lengths)
        return self.forward_flops(shape) * (3 if checkpointing else 2) + attention

    def memory_rank(self, shape: BatchShape) -> int:
        """Orders micro-batches by the memory they take, roughly and in bytes.

        Korthikanti et al. 2022, section 4.1: 34 bytes for each token, layer and unit of width, and the attention's
        probabilities in two. Logits are not kept, the hidden states that they come from are.
        """
        per_token = 34 * self.layers * self.attention_width
        probabilities = 2 * self.layers * sum(length**2 for length in shape.lengths)
        return per_token * shape.tokens + probabilities + self.attention_width * shape.targets


@dataclass(frozen=True)
class Workload:
    """All that training sends through the model.

    Attributes:
        steps: optimizer steps.
        micro_batches: in the plan's order.
        held_out: micro-batches of one evaluation loss.
        evaluations: how often that is computed.
        tokens: that go through the model in all steps, padding left out.
        trained_tokens: those among them that carry loss.
    """

    steps: int
    micro_batches: tuple[MicroBatch, ...]
    held_out: tuple[MicroBatch, ...]
    evaluations: int
    tokens: int
    trained_tokens: int

    @property
    def shapes(self) -> int:
        """Different shapes among the micro-batches."""
        return len({micro_batch.shape for micro_batch in self.micro_batches})


def workload(context: TrainingContext) -> Workload:
    """What the plan of `context` makes of its rows."""
    assert context.experiment.recipe is not None  # who trains has one
    rows, plan = context.rows, context.plan
    micro_batches = [
        _micro_batch(rows, [context.train_rows[row] for row in dealt])
        for step in plan
        for ranks in step.micro_batches
        for dealt in ranks
        if dealt
    ]
    trained_on = [row for micro_batch in micro_batches for row in micro_batch.rows]
    held_out = list(context.held_out_rows)
    size = plan.micro_batch_size
    return Workload(
        steps=len(plan),
        micro_batches=tuple(micro_batches),
        held_out=tuple(_micro_batch(rows, held_out[at : at + size]) for at in range(0, len(held_out), size)),
        evaluations=_evaluations(context.experiment.recipe.output, plan) if held_out else 0,
        tokens=sum(rows.lengths[row] for row in trained_on),
        trained_tokens=sum(rows.trained_tokens[row] for row in trained_on),
    )


def _evaluations(output: OutputConfig, plan: Plan) -> int:
    """How often the evaluation loss is computed; the last step's counts once, whatever asks for it."""
    every = {"steps": output.eval_steps, "epoch": plan.steps_per_epoch, "no": len(plan)}[output.eval_strategy]
    return -(-len(plan) // every)


def heaviest(work: Workload, dimensions: Dimensions) -> MicroBatch:
    """The micro-batch that takes the most memory."""
    return max(work.micro_batches, key=lambda found: dimensions.memory_rank(found.shape))


def _micro_batch(rows: EncodedRows, indices: Sequence[int]) -> MicroBatch:
    lengths = tuple(rows.lengths[index] for index in indices)
    return MicroBatch(tuple(indices), BatchShape(lengths, sum(rows.trained_tokens[index] for index in indices)))
