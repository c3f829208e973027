"""What code of the user's may answer, and what becomes of code that fails."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from thinker.config.pipeline_models import SchemaField
from thinker.errors import ConfigError
from thinker.validation import DatasetValidator
from thinker.validation.plugin_calls import PluginCall, PluginError, new_plugin


def texts(function: Callable[..., object], *arguments: object) -> list[str]:
    return PluginCall("validator 'v'", function).texts(*arguments)


@pytest.fixture
def plugin_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Writes the module `own_plugin`, found by name for this test only."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_plugin", raising=False)
    return lambda source: (tmp_path / "own_plugin.py").write_text(source, encoding="utf-8") and None


def raising(error: BaseException) -> Callable[[], object]:
    def function() -> object:
        raise error

    return function


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, []),
        (True, []),
        ("", []),
        ("  ", []),
        ([], []),
        ([None, True, ""], []),
        ("bad", ["bad"]),
        (["bad", "worse"], ["bad", "worse"]),
        (("bad", "worse"), ["bad", "worse"]),
        (False, ["refused by the validator 'v'"]),
        ([False], ["refused by the validator 'v'"]),
    ],
)
def test_an_answer_is_none_true_false_a_text_or_several(answer: object, said: list[str]) -> None:
    assert texts(lambda: answer) == said


def test_a_generator_is_read_to_its_end() -> None:
    assert texts(lambda: (text for text in ("one", "two"))) == ["one", "two"]


def test_a_value_error_is_an_answer_after_those_before_it() -> None:
    def function() -> Any:
        yield "first"
        raise ValueError("second")

    assert texts(function) == ["first", "second"]
    assert texts(raising(ValueError())) == ["refused by the validator 'v'"]


@pytest.mark.parametrize("answer", [1, 0, 2.5, {"a": "b"}, b"bad", [1], [("field", "text")], object()])
def test_any_other_answer_is_an_error_that_says_what_to_return(answer: object) -> None:
    with pytest.raises(PluginError, match=r"^validator 'v' answers with a value of type \w+; return None"):
        texts(lambda: answer)


def test_a_tuple_of_field_and_text_is_one_answer_of_a_check() -> None:
    call = PluginCall("check 'c'", lambda answer: answer)

    def call_with(answer: object) -> list[tuple[str, str]]:
        return PluginCall("c", lambda: answer).placed_texts()

    assert call.placed_texts("bad") == [("", "bad")]
    assert call_with(("prompt", "bad")) == [("prompt", "bad")]
    assert call_with([("prompt", "bad"), "worse", None]) == [("prompt", "bad"), ("", "worse")]
    assert call_with(("one", "two", "three")) == [("", "one"), ("", "two"), ("", "three")]


def test_arguments_are_private_copies() -> None:
    value = {"tags": ["a", {"b": 1}]}

    def spoil(given: dict[str, Any]) -> None:
        given["tags"][1]["b"] = 2
        given["tags"].append("c")

    texts(spoil, value)
    assert value == {"tags": ["a", {"b": 1}]}


@pytest.mark.parametrize("error", [KeyError("k"), AssertionError(), RecursionError("deep"), SystemExit(0)])
def test_an_exception_is_one_error_with_its_type(error: BaseException) -> None:
    with pytest.raises(PluginError, match=f"validator 'v' fails: {type(error).__name__}") as caught:
        texts(raising(error))
    assert caught.value.exit_code == 2


def test_an_interrupt_passes() -> None:
    with pytest.raises(KeyboardInterrupt):
        texts(raising(KeyboardInterrupt()))


def test_the_line_named_is_the_plugins_own_not_that_of_a_library_it_calls() -> None:
    def failing() -> object:
        return Path(1)  # type: ignore[arg-type]

    with pytest.raises(PluginError, match=rf"\({Path(__file__).name}:\d+\); mend it"):
        texts(failing)


def test_a_class_is_made_anew_so_that_it_may_remember(plugin_file: Callable[[str], None]) -> None:
    plugin_file(
        "class Increasing:\n"
        "    last = 0\n"
        "    def __call__(self, value):\n"
        "        before, self.last = self.last, value\n"
        "        return f'{value} after {before}' if value <= before else None\n"
    )
    for _ in range(2):
        call = PluginCall("v", new_plugin("validators", "own_plugin:Increasing"))
        assert [call.texts(value) for value in (1, 3, 2)] == [[], [], ["2 after 3"]]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("class V:\n    def __init__(self, x): ...", "validator 'own_plugin:V' cannot be made without arguments"),
        ("W = 1", "validator 'own_plugin:V': cannot load own_plugin:V: "),
        ("V = 1", "validator 'own_plugin:V': own_plugin:V cannot be called"),
        ("1 / 0", "cannot load own_plugin:V: ZeroDivisionError"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_a_config_error(
    plugin_file: Callable[[str], None], source: str, message: str
) -> None:
    plugin_file(source)
    with pytest.raises(ConfigError, match=message):
        new_plugin("validators", "own_plugin:V")


class TestInASchema:
    """Validators of `data_validation.schema[]`, through the gate's first pass."""

    @staticmethod
    def check(path: Path, rows: str, *schema: SchemaField) -> list[tuple[int | None, str, str, str]]:
        dataset = path / "train.jsonl"
        dataset.write_text(rows, encoding="utf-8")
        found = DatasetValidator(dataset, schema).validate()
        return [(each.line, each.field, each.code, each.message) for each in found.errors]

    def test_what_it_says_has_line_field_and_code(self, tmp_path: Path, plugin_file: Callable[[str], None]) -> None:
        plugin_file("def even(value):\n    return None if value % 2 == 0 else f'{value} is odd'\n")
        schema = SchemaField("n", "integer", validator="own_plugin:even")
        rows = '{"n": 2}\n{"n": 4}\n{"n": 5}\n'
        assert self.check(tmp_path, rows, schema) == [(3, "n", "THK-DATA-020", "5 is odd")]
        assert self.check(tmp_path, '{"n": 2}\n', schema) == []

    def test_it_is_asked_about_items_and_fields_within(self, tmp_path: Path) -> None:
        item = SchemaField("item", "object", fields=(SchemaField("link", "string", validator="url"),))
        rows = '{"sources": [{"link": "https://a.b"}, {"link": "a.b"}]}\n'
        assert [each[:3] for each in self.check(tmp_path, rows, SchemaField("sources", "array", items=item))] == [
            (1, "sources[1].link", "THK-DATA-020")
        ]

    def test_it_is_not_asked_about_null_nor_values_of_another_type(
        self, tmp_path: Path, plugin_file: Callable[[str], None]
    ) -> None:
        plugin_file("def never(value):\n    return 'asked'\n")
        schema = SchemaField("s", ("string", "null"), validator="own_plugin:never")
        assert [each[2] for each in self.check(tmp_path, '{"s": null}\n{"s": 1}\n', schema)] == ["THK-DATA-011"]

    def test_an_exception_names_plugin_file_and_line_of_the_dataset(
        self, tmp_path: Path, plugin_file: Callable[[str], None]
    ) -> None:
        plugin_file("def first(value):\n    return None if value[0] else None\n")
        schema = SchemaField("s", "string", allow_empty=True, validator="own_plugin:first")
        message = (
            rf"^{tmp_path / 'train.jsonl'}:2: s: validator 'own_plugin:first' fails: "
            r"IndexError: string index out of range \(own_plugin.py:2\); mend it$"
        )
        with pytest.raises(ConfigError, match=message):
            self.check(tmp_path, '{"s": "a"}\n{"s": ""}\n', schema)

    def test_a_name_that_does_not_exist_is_refused_before_anything_is_read(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="unknown validator 'urll', did you mean 'url'"):
            DatasetValidator(tmp_path / "absent.jsonl", [SchemaField("s", validator="urll")])
