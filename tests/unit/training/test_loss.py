"""The formula of a step's loss, against float64 NumPy, however the step is cut and its rows are laid."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.reference_loss import reference_nll_sum

from thinker.data.encode import EncodedExample
from thinker.training.hf_peft.engine import fuse, unfuse
from thinker.training.hf_peft.loss import PackedRows, PaddedRows, RowLayout

VOCABULARY = 512
CPU = torch.device("cpu")
ids = st.integers(0, VOCABULARY - 1)
examples = st.builds(
    lambda prompt, pairs: EncodedExample(prompt + [token for token, _ in pairs], [weight for _, weight in pairs]),
    st.lists(ids, min_size=1, max_size=30),
    st.lists(st.tuples(ids, st.sampled_from([0.0, 0.1, 1.0, 2.0, 5.0])), min_size=1, max_size=20),
)


@pytest.fixture(scope="module")
def model(tiny_model: Path):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval().requires_grad_(False)


def packed_with_head(model: Any) -> RowLayout:
    return fuse(model, CPU).layout


def packed_with_logits(model: Any) -> RowLayout:
    fuse(model, CPU)
    model.get_output_embeddings().__dict__.pop("forward")
    return PackedRows()


LAYOUTS: list[Callable[[Any], RowLayout]] = [
    lambda model: PaddedRows(0),
    lambda model: PaddedRows(0, keeps_logits=False),
    packed_with_head,
    packed_with_logits,
]
NAMES = ["padded", "all logits", "packed", "packed, logits"]


@pytest.fixture(params=LAYOUTS, ids=NAMES)
def nll_sum(model: Any, request: pytest.FixtureRequest):
    """The loss of rows, laid in one way."""
    layout = request.param(model)

    def compute(rows: Sequence[EncodedExample]) -> float:
        with torch.no_grad():
            return float(layout.nll_sum(model, layout.collate(rows, 1.0)))

    yield compute
    if model.config._attn_implementation == "thinker_rows":
        unfuse(model)


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(examples, min_size=1, max_size=5))
@pytest.mark.parametrize("layout", LAYOUTS, ids=NAMES)
def test_the_weighted_sum_equals_float64_numpy(model, layout, rows: list[EncodedExample]) -> None:
    expected = reference_nll_sum(model, rows)
    laid = layout(model)
    try:
        with torch.no_grad():
            found = float(laid.nll_sum(model, laid.collate(rows, 1.0)))
    finally:
        if model.config._attn_implementation == "thinker_rows":
            unfuse(model)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_rows_have_no_say_in_each_others_loss(nll_sum) -> None:
    short, long = EncodedExample([5, 6, 7], [2.0]), EncodedExample(list(range(10, 240)), [1.0] * 12)
    assert nll_sum([short, long, short]) == pytest.approx(2 * nll_sum([short]) + nll_sum([long]), rel=1e-6)


def test_the_first_id_of_a_row_is_no_target(nll_sum) -> None:
    whole = EncodedExample([5, 6, 7], [9.0, 1.0, 2.0])
    assert nll_sum([whole, whole]) == pytest.approx(2 * nll_sum([EncodedExample([5, 6, 7], [1.0, 2.0])]), rel=1e-6)


@pytest.mark.parametrize(("layout", "positions"), [(PaddedRows(0), 3), (PackedRows(), 3)])
def test_logits_are_computed_only_where_some_row_has_weight(model, layout: RowLayout, positions: int) -> None:
    packs = isinstance(layout, PackedRows)
    laid = packed_with_logits(model) if packs else layout
    seen = []
    handle = model.lm_head.register_forward_hook(lambda module, args, output: seen.append(output.shape[1]))
    rows = [EncodedExample(list(range(20)), [1.0, 1.0]), EncodedExample(list(range(15)), [1.0])]
    laid.nll_sum(model, laid.collate(rows, 1.0))
    handle.remove()
    if packs:
        unfuse(model)
    assert seen == [positions]


def test_a_padded_batch_pads_no_further_than_its_longest_row() -> None:
    batch = PaddedRows(pad_id=9).collate([EncodedExample([1, 2, 3], [5.0, 1.0]), EncodedExample([4], [])], 8.0)
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["weights"].tolist() == [[0.0, 5.0, 1.0], [0.0, 0.0, 0.0]]
    assert float(batch["step_weight"]) == 8.0


def test_a_packed_batch_pads_nothing() -> None:
    batch = PackedRows().collate([EncodedExample([1, 2, 3], [5.0, 0.0, 1.0]), EncodedExample([4, 6], [2.0])], 8.0)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 6]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    assert batch["row_lengths"] == (3, 2)
    assert batch["positions"].tolist() == [1, 3]
    assert batch["targets"].tolist() == [3, 6]
    assert batch["weights"].tolist() == [1.0, 2.0]
    assert float(batch["step_weight"]) == 8.0
