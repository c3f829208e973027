"""The formula of a step's loss, against float64 NumPy, however the step is cut."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.reference_loss import reference_nll_sum

from thinker.data.encode import EncodedExample
from thinker.training.hf_peft.loss import Collator, weighted_nll_sum

VOCABULARY = 512
ids = st.integers(0, VOCABULARY - 1)
examples = st.builds(
    lambda prompt, pairs: EncodedExample(prompt + [token for token, _ in pairs], [weight for _, weight in pairs]),
    st.lists(ids, min_size=1, max_size=30),
    st.lists(st.tuples(ids, st.sampled_from([0.0, 0.1, 1.0, 2.0, 5.0])), min_size=1, max_size=20),
)


@pytest.fixture(scope="module")
def model(tiny_model: Path):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(examples, min_size=1, max_size=5))
@pytest.mark.parametrize("keeps_logits", [True, False])
def test_the_weighted_sum_equals_float64_numpy(model, keeps_logits: bool, rows: list[EncodedExample]) -> None:
    batch = Collator(pad_id=0)(rows, 1.0)
    with torch.no_grad():
        found = float(weighted_nll_sum(model, batch, keeps_logits=keeps_logits))
    assert found == pytest.approx(reference_nll_sum(model, rows), rel=1e-6, abs=1e-9)


def test_padding_changes_neither_weight_nor_loss(model) -> None:
    short, long = EncodedExample([5, 6, 7], [2.0]), EncodedExample(list(range(10, 40)), [1.0] * 12)
    together = weighted_nll_sum(model, Collator(0)([short, long], 1.0), keeps_logits=True)
    apart = sum(weighted_nll_sum(model, Collator(0)([row], 1.0), keeps_logits=True) for row in (short, long))
    assert float(together) == pytest.approx(float(apart), rel=1e-6)


def test_logits_are_computed_only_where_some_row_has_weight(model) -> None:
    seen = []
    handle = model.lm_head.register_forward_hook(lambda module, args, output: seen.append(output.shape[1]))
    rows = [EncodedExample(list(range(20)), [1.0, 1.0]), EncodedExample(list(range(15)), [1.0])]
    weighted_nll_sum(model, Collator(0)(rows, 1.0), keeps_logits=True)
    handle.remove()
    assert seen == [3]


def test_a_batch_pads_no_further_than_its_longest_row() -> None:
    batch = Collator(pad_id=9)([EncodedExample([1, 2, 3], [5.0, 1.0]), EncodedExample([4], [])], 8.0)
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["weights"].tolist() == [[0.0, 5.0, 1.0], [0.0, 0.0, 0.0]]
    assert float(batch["step_weight"]) == 8.0
