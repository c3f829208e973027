from __future__ import annotations

import io
import json
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinker import secrets
from thinker.secrets import MaskingStream, looks_secret, mask, register


@pytest.fixture(autouse=True)
def _secrets_of_this_test_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_values", set())
    monkeypatch.setattr(secrets, "_pattern", secrets._pattern)


def test_a_registered_value_is_masked_wherever_it_stands() -> None:
    register("kw-registered-1")
    assert mask("a kw-registered-1, b=kw-registered-1.") == "a ***, b=***."


def test_a_registered_value_is_masked_in_its_escaped_forms() -> None:
    value = 'kw "é\\2/ x'
    register(value)
    for text in (json.dumps({"a": value}), json.dumps({"a": value}, ensure_ascii=False), urllib.parse.quote(value)):
        assert "***" in mask(text)
        assert "x" not in mask(text)
    assert mask(f"https://hub?key={urllib.parse.quote(value, safe='')}") == "https://hub?key=***"


def test_the_longer_of_two_overlapping_values_is_masked_whole() -> None:
    register("kw-short")
    register("kw-short-and-long")
    assert mask("kw-short-and-long kw-short") == "*** ***"


@pytest.mark.parametrize("value", ["", "   ", "abc"])
def test_a_value_too_short_to_be_a_secret_is_not_registered(value: str) -> None:
    register(value)
    assert mask(f"x{value}y abc") == f"x{value}y abc"


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "TINKER_API_KEY", "my_secret", "DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "apikey", "GH_TOKEN"],
)
def test_names_of_secrets_are_known(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize("name", ["max_new_tokens", "TOKENIZERS_PARALLELISM", "PATH", "HOME", "SECRETARY", "tokens"])
def test_other_names_are_not(name: str) -> None:
    assert not looks_secret(name)


def test_values_of_secret_variables_are_masked_and_stay_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KW_API_KEY", "kw-from-environment")
    assert mask("kw-from-environment") == "***"
    monkeypatch.delenv("KW_API_KEY")
    assert mask("kw-from-environment") == "***"


def test_a_value_that_is_not_unicode_is_masked_too() -> None:
    register("kw-\udcff-bytes")
    assert mask("a kw-\udcff-bytes") == "a ***"


def test_short_values_and_other_variables_are_not_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KW_TOKEN", "short-7")
    monkeypatch.setenv("KW_NAME", "kw-plain-value")
    assert mask("short-7 kw-plain-value") == "short-7 kw-plain-value"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("token hf_abcdefghijklmnopqrstuvwxyz0123.", "token ***."),
        ("hf_abcdefghijklmnopqrs", "hf_abcdefghijklmnopqrs"),
        ("hf_peft is a backend", "hf_peft is a backend"),
        ("key=tml-ab_cd-EF12;", "key=***;"),
        ("tml-short", "tml-short"),
        ("xhtml-templates and html-documents", "xhtml-templates and html-documents"),
    ],
)
def test_texts_in_the_shape_of_a_token_are_masked(text: str, masked: str) -> None:
    assert mask(text) == masked


def test_a_stream_masks_what_is_written_and_is_otherwise_itself() -> None:
    register("kw-streamed")
    inner = io.StringIO()
    stream = MaskingStream(inner)
    assert stream.write("a kw-streamed b") == len("a kw-streamed b")
    stream.writelines(["kw-streamed", "\n"])
    print("kw-streamed", file=stream, flush=True)
    assert inner.getvalue() == "a *** b***\n***\n"
    assert stream.isatty() is False
    assert stream.encoding == inner.encoding


def test_a_stream_passes_on_what_the_inner_stream_can_do(tmp_path_factory: pytest.TempPathFactory) -> None:
    with (tmp_path_factory.mktemp("stream") / "out").open("w", encoding="latin-1") as inner:
        stream = MaskingStream(inner)
        assert stream.fileno() == inner.fileno()
        assert stream.encoding == "latin-1"
        stream.flush()
    with pytest.raises(AttributeError):
        _ = stream.no_such_attribute


_words = st.text("abcdefghijklmnop -_.\n", max_size=12)


@given(secret=st.text("QRSTUV0123456789!§é/", min_size=4, max_size=20), before=_words, after=_words)
def test_no_registered_value_survives(secret: str, before: str, after: str) -> None:
    register(secret)
    masked = mask(before + secret + after)
    assert secret not in masked
    assert masked.startswith(before)
    assert masked.endswith(after)


@given(text=st.text("abcdefghijklmnop {}[]:,\n", max_size=80))
def test_text_without_secrets_stays_as_it_is(text: str) -> None:
    assert mask(text) == text
