"""What counts as the same model, and what does not."""

import pytest
import torch

from thinker.errors import ComparisonError, EvaluationError
from thinker.merging.parity import MOST_POSITIONS, Parity, RowOutput, compared, limit, row_outputs
from thinker.merging.rows import ParityRow
from thinker.modeling.load import ModelSource, load_base_model

ROWS = [ParityRow(f"data.jsonl:{line}", tuple(range(5, 15)), 4) for line in (1, 2)]


def output(change: float = 0.0, *, at: int = 0, continuation: tuple[int, ...] = (7, 8)) -> RowOutput:
    """Logits [3, 5] from 0 to 10, one of which is changed."""
    logits = torch.linspace(0, 10, 15).reshape(3, 5).clone()
    logits[at, 0] += change
    return RowOutput(logits, continuation)


def parity(*merged: RowOutput, effect: float = 5.0, allowed: float = 0.01) -> Parity:
    return compared(merged, [output(), output()], [output(effect), output(effect)], ROWS, limit=allowed)


def test_the_figures_are_those_of_the_rows() -> None:
    found = parity(output(0.05), output(8.0, continuation=(7, 9)), allowed=1.0)
    assert [row.max_logit_difference for row in found.rows] == pytest.approx([0.05, 8.0])
    assert [row.allowed_logit_difference for row in found.rows] == pytest.approx([10.0, 10.0])
    assert [row.agreeing_positions for row in found.rows] == [3, 2]
    assert found.max_logit_difference == pytest.approx(8.0)
    assert found.rms_logit_difference == pytest.approx(((0.05**2 + 8.0**2) / 30) ** 0.5)
    assert found.rms_adapter_effect == pytest.approx((2 * 5.0**2 / 30) ** 0.5)
    assert found.greedy_agreement == pytest.approx(5 / 6)
    assert found.continuation_agreement == 0.5


def test_a_difference_within_the_limit_is_parity() -> None:
    parity(output(0.09), output(-0.09)).require()


def test_a_difference_beyond_the_limit_names_the_row() -> None:
    with pytest.raises(ComparisonError, match=r"on data\.jsonl:2 a logit differs by 0\.11, where 0\.1 is allowed"):
        parity(output(0.09), output(-0.11)).require()


def test_a_logit_that_is_not_a_number_is_a_difference() -> None:
    with pytest.raises(ComparisonError, match=r"data\.jsonl:1"):
        parity(output(float("nan")), output()).require()


def test_differences_as_large_as_the_adapters_effect_are_none_of_parity() -> None:
    parity(output(0.4), output(0.4), effect=1.0, allowed=0.5).require()
    with pytest.raises(ComparisonError, match="rounding weighs as much as the adapter"):
        parity(output(0.6), output(0.6), effect=1.0, allowed=0.5).require()


def test_an_adapter_without_effect_is_told() -> None:
    with pytest.raises(EvaluationError, match="the adapter changes nothing"):
        parity(output(), output(), effect=0.0)


@pytest.mark.parametrize(
    ("written", "evaluated", "quantization", "expected"),
    [
        ("float32", "float32", "none", 0.0005),
        ("float32", "float32", "4bit", 0.0005),
        ("float16", "float32", "none", 0.05),
        ("float32", "bfloat16", "none", 0.25),
        ("bfloat16", "float16", "4bit", 0.25),
        ("float32", "float32", "8bit", 0.5),
    ],
)
def test_the_limit_is_that_of_the_coarser_precision(
    written: str, evaluated: str, quantization: str, expected: float
) -> None:
    assert limit(written, evaluated, quantization) == expected


def test_logits_are_those_that_predict_the_completion(tiny_model) -> None:
    model = load_base_model(
        ModelSource(str(tiny_model), None, None, tiny_model), device=torch.device("cpu"), dtype="float32"
    )
    long = ParityRow("long", tuple(5 + place % 400 for place in range(200)), 20)
    short, capped = row_outputs(model, [ROWS[0], long], "test", eos_id=2)
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([ROWS[0].ids])).logits[0]
    torch.testing.assert_close(short.logits, expected[3:9])
    assert len(capped.logits) == MOST_POSITIONS
    assert short.continuation[0] == int(expected[3].argmax())
