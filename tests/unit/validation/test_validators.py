"""The validators that come with Thinker."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinker import plugins
from thinker.validation import validators
from thinker.validation.plugin_calls import PluginCall

GOOD = {
    "url": ["http://a", "https://a.b:8080/c?d=e#f", "https://[::1]/", "HTTPS://A"],
    "iso_date": ["2024-02-29", "1999-12-31"],
    "language_tag": ["en", "pt-BR", "zh-Hans-CN", "sl-rozaj", "de-1996", "es-419", "EN"],
    "json_text": ["{}", "1e999", '"\\ud800"', "[" * 50 + "]" * 50, "1" * 9000, ' {"a": [null, true]} '],
    "clean_text": [
        "tab\tand\r\nline", "café naïve", "Þórður Ðó", "привет", "日本語 😀", "“MENÜ“ AMANHÃ” «IRMû SOCIÉTÉ…", "Â", "",
    ],
}  # fmt: skip
BAD = {
    "url": ["", "a.b", "ftp://a", "http://", "http://a b", "https://a\n", "http://a:99999", "http://[::1", "//a/b"],
    "iso_date": ["2023-02-29", "2024-2-9", "20240209", "2024-02-09T00:00", "2024-W07-5", "٢٠٢٤-٠٢-٠٩", ""],
    "language_tag": ["english", "e", "en_US", "en-", "", "en US", "ſe"],
    "json_text": ["", "{", "NaN", "[-Infinity]", "{'a': 1}", "[1,]", "x", "[" * 100_000],
    "clean_text": [
        "bell\x07", "\x1b[31mred", "nul\x00", "next\x85line", "lost \ufffd", "\ufeffmark", "cafÃ©", "donâ€™t",
        "Â°C", "ðŸ˜€", "Ð¿Ñ€Ð¸Ð²ÐµÑ‚",
    ],
}  # fmt: skip


def said(name: str, value: object) -> list[str]:
    return PluginCall(name, plugins.resolve("validators", name)).texts(value)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_good_values_pass(name: str, value: str) -> None:
    assert said(name, value) == []


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_bad_values_are_told_once(name: str, value: str) -> None:
    assert len(said(name, value)) == 1


@pytest.mark.parametrize("name", plugins.names("validators"))
@pytest.mark.parametrize("value", [None, 1, 1.5, True, [], {"a": 1}])
def test_what_is_no_text_is_left_to_the_type(name: str, value: object) -> None:
    assert said(name, value) == []


def test_each_has_examples_here() -> None:
    assert set(GOOD) == set(BAD) == set(plugins.names("validators"))


def test_wrong_decoding_is_told_with_what_it_was() -> None:
    assert said("clean_text", "I donâ€™t") == ["'â€™' for '’' at character 6: UTF-8 read as Windows-1252"]


def test_everything_wrong_with_a_text_is_told() -> None:
    assert len(said("clean_text", "\x07 \ufffd cafÃ©")) == 3


@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufffd\ufeff")))
def test_no_text_crashes_clean_text_and_ascii_is_always_clean(text: str) -> None:
    found = list(validators.clean_text(text))
    assert not found or not text.isascii()


@given(st.text(alphabet="áéíóúñçüöäßàèêëîïôæåøÉÀÜ’“”–€", min_size=1))
def test_every_accented_text_read_wrongly_is_found(text: str) -> None:
    wrong = text.encode().decode("cp1252", "replace")
    assert list(validators.clean_text(wrong))
