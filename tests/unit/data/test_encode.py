from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_model import make_tiny_model

from thinker.data.encode import EncodedExample, Encoder, token_weights
from thinker.data.fit import truncate_prompt
from thinker.errors import PreconditionError
from thinker.tasks.base import Example, Message, WeightSpan


def tokenizer_of(folder: Path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path):
    return tokenizer_of(tiny_model)


@pytest.fixture(scope="module")
def bos_tokenizer(tmp_path_factory: pytest.TempPathFactory):
    return tokenizer_of(make_tiny_model(tmp_path_factory.mktemp("bos"), bos=True))


@settings(max_examples=50, deadline=None)
@given(prompt=st.text(min_size=1, max_size=40), completion=st.text(max_size=40))
def test_ids_are_prompt_then_completion_then_eos_tokenized_apart(tokenizer, prompt: str, completion: str) -> None:
    encoder = Encoder(tokenizer, "raw")
    encoded = encoder.encode(Example(prompt, completion))
    completion_ids = tokenizer(completion, add_special_tokens=False)["input_ids"]
    assert encoded.ids == [*encoder.prompt_ids(prompt), *completion_ids, tokenizer.eos_token_id]
    assert encoded.weights == [1.0] * (len(completion_ids) + 1)
    assert encoded.prompt_length == len(encoder.prompt_ids(prompt))


def test_raw_adds_the_tokenizers_leading_tokens_once(bos_tokenizer) -> None:
    encoder = Encoder(bos_tokenizer, "raw")
    bos = bos_tokenizer.bos_token_id
    assert encoder.leading_ids == (bos,)
    assert encoder.prompt_ids("one two").count(bos) == 1
    assert encoder.prompt_ids("<|bos|>one two") == encoder.prompt_ids("one two")
    assert bos not in encoder.encode(Example("one", "two")).ids[1:]


def test_chat_uses_the_template_and_adds_nothing(bos_tokenizer) -> None:
    encoder = Encoder(bos_tokenizer, "chat")
    text = "<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\n"
    assert encoder.prompt_ids("one") == bos_tokenizer(text, add_special_tokens=False)["input_ids"]
    assert encoder.prompt_ids((Message("user", "one"),)) == encoder.prompt_ids("one")


def test_a_prompt_without_a_token_is_refused(tokenizer) -> None:
    with pytest.raises(ValueError, match="the prompt is empty"):
        Encoder(tokenizer, "raw").encode(Example("", "one"))


def test_what_a_chat_template_refuses_is_an_error_of_the_row(tiny_model: Path) -> None:
    tokenizer = tokenizer_of(tiny_model)
    tokenizer.chat_template = "{{ raise_exception('no system role') }}"
    with pytest.raises(ValueError, match="refuses the row: no system role"):
        Encoder(tokenizer, "chat").prompt_ids("one")


def test_a_template_that_asks_for_the_date_gets_a_fixed_one_or_is_told_of(tiny_model: Path, caplog) -> None:
    tokenizer = tokenizer_of(tiny_model)
    tokenizer.chat_template = "{% if date_string is not defined %}{{ strftime_now('%d') }}{% endif %}{{ date_string }}"
    encoder = Encoder(tokenizer, "chat")
    assert not encoder.is_dated
    assert encoder.prompt_ids("one") == tokenizer("01 Jan 2025", add_special_tokens=False)["input_ids"]
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }}"
    assert Encoder(tokenizer, "chat").is_dated
    assert "adapters differ by the day" in caplog.text


def test_raw_refuses_a_conversation(tokenizer) -> None:
    with pytest.raises(ValueError, match="prompt_format: chat"):
        Encoder(tokenizer, "raw").prompt_ids((Message("user", "one"),))


def test_chat_without_a_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PreconditionError, match="no chat template"):
        Encoder(tokenizer_of(make_tiny_model(tmp_path, chat=False)), "chat")


def test_a_tokenizer_without_eos_is_refused(tiny_model: Path) -> None:
    tokenizer = tokenizer_of(tiny_model)
    tokenizer.eos_token = None
    with pytest.raises(PreconditionError, match="end-of-sequence"):
        Encoder(tokenizer, "raw")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30)), max_size=20))
def test_many_examples_are_encoded_as_one_alone_and_an_error_keeps_its_place(tokenizer, texts) -> None:
    encoder = Encoder(tokenizer, "raw")
    found = list(encoder.encode_all([(Example(*each), [WeightSpan(0, 1, 2.0)]) for each in texts]))
    for (prompt, completion), encoded in zip(texts, found, strict=True):
        if prompt:
            assert encoded == encoder.encode(Example(prompt, completion), [WeightSpan(0, 1, 2.0)])
            assert (encoded.ids[-1], encoded.weights[-1]) == (tokenizer.eos_token_id, 1.0)
        else:
            assert isinstance(encoded, ValueError)


def test_batches_are_bounded_and_every_row_is_in_one(tokenizer, monkeypatch) -> None:
    from thinker.data import encode

    monkeypatch.setattr(encode, "_BATCH_ROWS", 3)
    monkeypatch.setattr(encode, "_BATCH_CHARACTERS", 20)
    examples = [Example("one" * length, "two") for length in (1, 1, 1, 1, 9, 9, 1)]
    batches = list(encode._batches((example, ()) for example in examples))
    assert [len(batch) for batch in batches] == [3, 2, 1, 1]
    assert [example for batch in batches for example, _ in batch] == examples


@pytest.mark.parametrize(("seam", "differs"), [(("capit", "al"), True), (("capital", " two"), False)])
def test_a_seam_differs_where_a_token_would_reach_over_it(tokenizer, seam, differs: bool) -> None:
    prompt, completion = seam
    padding = "one two three " * 40
    examples = [Example(prompt, completion), Example(padding + prompt, completion + " " + padding)]
    assert Encoder(tokenizer, "raw").seams_differ(examples) == [differs, differs]
    for example in examples:
        apart = [
            tokenizer(text, add_special_tokens=False)["input_ids"] for text in (example.prompt, example.completion)
        ]
        joined = tokenizer(example.prompt + example.completion, add_special_tokens=False)["input_ids"]
        assert (apart[0] + apart[1] != joined) is differs


def test_a_token_that_touches_two_spans_takes_the_larger_weight() -> None:
    spans = [WeightSpan(0, 3, 5.0), WeightSpan(3, 6, 2.0)]
    offsets = [(0, 2), (2, 4), (4, 6), (6, 8), (8, 8)]
    assert token_weights(offsets, 8, spans) == [5.0, 5.0, 2.0, 1.0, 1.0]


def test_a_token_half_outside_a_light_span_keeps_weight_one() -> None:
    assert token_weights([(0, 2), (2, 4), (4, 6)], 6, [WeightSpan(0, 3, 0.5)]) == [0.5, 1.0, 1.0]


def test_span_weights_reach_the_tokens_of_the_line_and_no_others(tokenizer) -> None:
    line, rest = "CLAIM[c1]: alpha", "\nRELATION: c2 supports c1"
    encoded = Encoder(tokenizer, "raw").encode(Example("p", line + rest), [WeightSpan(0, len(line), 5.0)])
    offsets = tokenizer(line + rest, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    expected = [5.0 if start < len(line) else 1.0 for start, _ in offsets]
    assert encoded.weights == [*expected, 1.0]
    assert 5.0 in expected
    assert 1.0 in expected


def test_truncation_cuts_the_prompt_from_the_left_after_its_leading_tokens() -> None:
    whole = EncodedExample([1, 10, 11, 12, 20, 21, 2], [5.0, 1.0, 1.0])
    assert truncate_prompt(whole, 5, 1) == EncodedExample([1, 12, 20, 21, 2], [5.0, 1.0, 1.0])
    assert truncate_prompt(whole, 3, 1) == EncodedExample([20, 21, 2], [5.0, 1.0, 1.0])
