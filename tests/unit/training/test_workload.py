"""Steps, tokens and shapes, counted in the plan; and which micro-batch is the heaviest."""

import math

import pytest
from support.project import Project
from support.training_context import row, training_context

from thinker.training.workload import BatchShape, Dimensions, heaviest, workload

SIZE = Dimensions(
    vocabulary=512, layers=2, attention_width=64, linear_parameters=70_000, head_parameters=32_768,
    base_parameters=135_000, base_bytes=540_000, trained_parameters=1_000,
)  # fmt: skip
LENGTHS = (12, 30, 7, 19, 25, 8, 9)


@pytest.mark.parametrize(
    ("overrides", "steps", "epochs"),
    [
        ((), 4, 2),
        (("training.num_epochs=3", "data.shuffle=false"), 6, 3),
        (("training.per_device_batch_size=1", "training.gradient_accumulation_steps=1", "training.num_epochs=1"), 7, 1),
        (("training.per_device_batch_size=7", "training.gradient_accumulation_steps=4"), 2, 2),
    ],
)
def test_steps_and_tokens_are_those_of_the_plan(
    project: Project, overrides: tuple[str, ...], steps: int, epochs: int
) -> None:
    work = workload(training_context(project, [row(length) for length in LENGTHS], *overrides))
    assert work.steps == steps
    assert work.tokens == epochs * sum(LENGTHS)
    assert work.trained_tokens == epochs * 4 * len(LENGTHS)


def test_a_bound_on_steps_leaves_out_the_tokens_beyond_it(project: Project) -> None:
    work = workload(training_context(project, [row(n) for n in LENGTHS], "data.shuffle=false", "training.max_steps=1"))
    assert (work.steps, work.tokens) == (1, sum(LENGTHS[:4]))
    assert [batch.shape.longest for batch in work.micro_batches] == [30, 19]


def test_held_out_rows_are_no_training_tokens_but_evaluations(project: Project) -> None:
    rows = [row(length) for length in LENGTHS]
    work = workload(training_context(project, rows, "output.eval_steps=2", "training.num_epochs=2", held_out=3))
    assert work.tokens == 2 * sum(LENGTHS[:4])
    assert [batch.rows for batch in work.held_out] == [(4, 5), (6,)]
    assert work.evaluations == work.steps // 2 == 1


def test_the_heaviest_micro_batch_is_the_longest_where_all_have_as_many_trained_tokens(project: Project) -> None:
    context = training_context(project, [row(length) for length in LENGTHS])
    found = heaviest(workload(context), SIZE)
    assert found.shape.longest == max(LENGTHS)
    assert 1 in found.rows


def test_of_rows_as_long_the_one_with_more_trained_tokens_is_the_heaviest(project: Project) -> None:
    rows = [row(40), row(40, trained=38)]
    context = training_context(project, rows, "training.per_device_batch_size=1", "training.num_epochs=1")
    assert heaviest(workload(context), SIZE).rows == (1,)


def test_a_micro_batchs_shape_is_its_lengths_and_its_targets(project: Project) -> None:
    rows = [row(20, trained=6), row(30, trained=9)]
    context = training_context(project, rows, "training.num_epochs=1", "data.shuffle=false")
    assert workload(context).micro_batches[0].shape == BatchShape((20, 30), 15)


def test_flops_grow_with_the_square_of_the_length_in_attention_alone() -> None:
    short, long = (BatchShape((length,), 0) for length in (100, 200))
    attention = 4 * SIZE.layers * SIZE.attention_width
    assert SIZE.forward_flops(long) - 2 * SIZE.forward_flops(short) == attention * (200**2 - 2 * 100**2)


def test_recomputing_activations_costs_another_forward_pass() -> None:
    shape = BatchShape((64, 40), 10)
    more = SIZE.training_flops(shape, checkpointing=True) - SIZE.training_flops(shape, checkpointing=False)
    assert more == SIZE.forward_flops(shape)
    assert math.isclose(SIZE.training_flops(shape, checkpointing=False) / SIZE.forward_flops(shape), 2, rel_tol=0.5)
