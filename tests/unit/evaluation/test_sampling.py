import math
import random
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thinker.evaluation.sampling import PerRecordSampling, nucleus_tokens, record_random

logits_lists = st.lists(st.floats(-5, 5), min_size=2, max_size=12)


def reference_token(logits: list[float], uniform: float, temperature: float, top_p: float) -> int:
    """Nucleus sampling in plain Python, one row."""
    highest = max(logits)
    masses = [math.exp((logit - highest) / temperature) for logit in logits]
    probabilities = [mass / math.fsum(masses) for mass in masses]
    order = sorted(range(len(logits)), key=lambda token: (-probabilities[token], token))
    nucleus, mass = [], 0.0
    for token in order:
        if mass >= top_p:
            break
        nucleus.append(token)
        mass += probabilities[token]
    target, reached = uniform * mass, 0.0
    for token in nucleus:
        reached += probabilities[token]
        if reached > target:
            return token
    return nucleus[-1]


@given(logits_lists, st.floats(0.001, 0.999), st.sampled_from([0.3, 0.7, 1.0]), st.sampled_from([0.2, 0.5, 0.9, 1.0]))
def test_the_token_is_that_of_the_plain_definition(logits, uniform, temperature, top_p) -> None:
    found = nucleus_tokens(torch.tensor([logits], dtype=torch.float64), [uniform], temperature, top_p)
    assert found.tolist() == [reference_token(logits, uniform, temperature, top_p)]


def test_rows_are_drawn_apart() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])
    both = nucleus_tokens(logits, [0.3, 0.95], 1.0, 1.0).tolist()
    assert both == [nucleus_tokens(logits[row : row + 1], [u], 1.0, 1.0).item() for row, u in enumerate([0.3, 0.95])]


def test_frequencies_follow_the_probabilities() -> None:
    probabilities = [0.5, 0.3, 0.2]
    logits = torch.tensor([[math.log(p) for p in probabilities]])
    generator = random.Random(0)
    drawn = Counter(nucleus_tokens(logits, [generator.random()], 1.0, 1.0).item() for _ in range(4000))
    assert [drawn[token] / 4000 for token in range(3)] == pytest.approx(probabilities, abs=0.03)


def test_a_records_generator_depends_on_seed_and_id_alone() -> None:
    assert record_random(1, "a").random() == record_random(1, "a").random()
    assert len({record_random(seed, name).random() for seed in (0, 1) for name in ("a", "b")}) == 4


def test_the_processor_leaves_one_choice() -> None:
    processor = PerRecordSampling([random.Random(0), random.Random(1)], 0.7, 0.9)
    scores = processor(None, torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    assert torch.isfinite(scores).sum(dim=-1).tolist() == [1, 1]
