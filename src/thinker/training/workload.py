"""What a plan makes a model do: its micro-batches, their shapes, and what a shape costs in work and memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from thinker.data.encoded_rows import EncodedRows
from thinker.training.base import TrainingContext


@dataclass(frozen=True)
class BatchShape:
    """What the work and the memory of a micro-batch follow from.

    Attributes:
        rows: its rows.
        length: its longest row, in tokens.
        positions: of these, the ones that logits are computed at; an upper bound unless said otherwise.
        padded: whether some row is shorter than the longest.
    """

    rows: int
    length: int
    positions: int
    padded: bool


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
        matrices = 2 * self.linear_parameters * shape.length
        attention = 4 * self.layers * self.attention_width * shape.length**2
        return shape.rows * (matrices + attention + 2 * self.head_parameters * shape.positions)

    def training_flops(self, shape: BatchShape, *, checkpointing: bool) -> int:
        """Forward and backward pass. Frozen matrices need no gradient of their own, attention's operands do."""
        attention = 4 * shape.rows * self.layers * self.attention_width * shape.length**2
        return self.forward_flops(shape) * (3 if checkpointing else 2) + attention

    def memory_rank(self, shape: BatchShape) -> int:
        """Orders micro-batches by the memory they take, roughly and in bytes.

        Korthikanti et al. 2022, section 4.1: 34 bytes for each token, layer and unit of width. Beside them a mask for
        each layer, and three copies of the logits in float32.
        """
        tokens = 34 * shape.length * self.layers * self.attention_width
        mask = 2 * self.layers * shape.length**2 if shape.padded else 0
        return shape.rows * (tokens + mask + 12 * shape.positions * self.vocabulary)


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
        evaluations=len(plan) // context.experiment.recipe.output.eval_steps if held_out else 0,
        tokens=sum(rows.lengths[row] for row in trained_on),
        trained_tokens=sum(rows.trained_tokens[row] for row in trained_on),
    )


def heaviest(work: Workload, rows: EncodedRows, dimensions: Dimensions, *, looked_at: int = 8) -> MicroBatch:
    """The micro-batch that takes the most memory; its positions are exact.

    The bound on positions chooses the few whose rows are looked at.
    """
    ranked = sorted(set(work.micro_batches), key=lambda found: dimensions.memory_rank(found.shape), reverse=True)
    exact = (_exact(rows, micro_batch) for micro_batch in ranked[:looked_at])
    return max(exact, key=lambda found: dimensions.memory_rank(found.shape))


def _micro_batch(rows: EncodedRows, indices: Sequence[int]) -> MicroBatch:
    lengths = [rows.lengths[index] for index in indices]
    bound = min(max(lengths) - 1, sum(rows.trained_tokens[index] for index in indices))
    return MicroBatch(tuple(indices), BatchShape(len(lengths), max(lengths), bound, min(lengths) < max(lengths)))


def _exact(rows: EncodedRows, micro_batch: MicroBatch) -> MicroBatch:
    shape = micro_batch.shape
    positions = len(set(_positions(rows, micro_batch.rows)))
    return MicroBatch(micro_batch.rows, BatchShape(shape.rows, shape.length, positions, shape.padded))


def _positions(rows: EncodedRows, indices: Iterable[int]) -> Iterator[int]:
    """Where the next id carries loss, row by row."""
    for index in indices:
        example = rows[index]
        yield from (
            example.prompt_length + place - 1
            for place, weight in enumerate(example.weights)
            if weight and example.prompt_length + place > 0
        )
