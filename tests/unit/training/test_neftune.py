"""NEFTune's noise: as strong as the row's own length says, in training alone, and the same under one seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from thinker.training.hf_peft.neftune import add_noise, row_lengths

ALPHA, WIDTH = 5.0, 64


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Any:
    return get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), LoraConfig(target_modules=["q_proj"]))


def embeddings_seen(model: Any, **inputs: torch.Tensor) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    handle = model.get_base_model().model.layers[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    torch.manual_seed(1)
    model(**inputs)
    handle.remove()
    return seen[0].detach()


def noise_of(model: Any, **inputs: torch.Tensor) -> torch.Tensor:
    remove = add_noise(model, ALPHA)
    try:
        noisy = embeddings_seen(model, **inputs)
    finally:
        remove()
    return noisy - embeddings_seen(model, **inputs)


def test_noise_fills_the_range_of_its_rows_length_whatever_it_is_padded_to(model: Any) -> None:
    model.train()
    ids = torch.arange(5, 85).reshape(2, 40)
    mask = torch.ones_like(ids)
    mask[1, 10:] = 0
    noise = noise_of(model, input_ids=ids, attention_mask=mask).abs()
    for row, length in ((0, 40), (1, 10)):
        bound = ALPHA / (length * WIDTH) ** 0.5
        assert 0.95 * bound < noise[row, :length].max() <= bound * 1.0001


def test_rows_packed_into_one_line_have_the_noise_of_their_own_lengths(model: Any) -> None:
    model.train()
    positions = torch.cat([torch.arange(30), torch.arange(8)]).unsqueeze(0)
    noise = noise_of(model, input_ids=torch.arange(5, 43).unsqueeze(0), position_ids=positions).abs()[0]
    assert noise[:30].max() <= ALPHA / (30 * WIDTH) ** 0.5 * 1.0001
    assert noise[30:].max() > ALPHA / (30 * WIDTH) ** 0.5


def test_lengths_are_those_of_packed_rows_padded_rows_or_whole_lines() -> None:
    ids = torch.zeros(1, 7, dtype=torch.int64)
    packed = torch.tensor([[0, 1, 2, 0, 1, 0, 1]])
    assert row_lengths(ids, None, packed).tolist() == [[3, 3, 3, 2, 2, 2, 2]]
    assert row_lengths(ids, torch.tensor([[1, 1, 1, 1, 0, 0, 0]]), None).tolist() == [[4]]
    assert row_lengths(ids, None, None).tolist() == [[7]]


def test_there_is_no_noise_where_nothing_is_trained(model: Any) -> None:
    model.eval()
    assert noise_of(model, input_ids=torch.arange(5, 45).unsqueeze(0)).abs().max() == 0


def test_one_seed_gives_one_noise_and_removing_it_leaves_none(model: Any) -> None:
    model.train()
    ids = torch.arange(5, 45).unsqueeze(0)
    assert torch.equal(noise_of(model, input_ids=ids), noise_of(model, input_ids=ids))
    assert torch.equal(embeddings_seen(model, input_ids=ids), embeddings_seen(model, input_ids=ids))
