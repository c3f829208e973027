from __future__ import annotations

import json
import logging

import pytest
from config_project import Project

from thinker.config.fingerprint import config_fingerprint
from thinker.config.resolved import resolved_config
from thinker.secrets import mask

# Not in the shape of a hub token, which would be masked anyway.
TOKEN = "sesame-open-wide-1234"


def token_of(project: Project) -> str | None:
    recipe = project.load().recipe
    assert recipe is not None
    return recipe.model.hf_token.get_secret_value() if recipe.model.hf_token else None


def with_token(project: Project, value: str) -> None:
    project.lora(f"  name: org/model\n  hf_token: {value}\n", "  name: org/model\n")


def test_a_variable_is_read_from_the_environment(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MY_HUB_VARIABLE", TOKEN)
    with_token(project, "${MY_HUB_VARIABLE}")
    with caplog.at_level(logging.WARNING, logger="thinker"):
        assert token_of(project) == TOKEN
    assert caplog.text == ""
    assert mask(f"x {TOKEN}") == "x ***"


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_variable_that_is_not_set_is_an_error_that_names_it(
    project: Project, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("MY_HUB_VARIABLE", raising=False)
    if value is not None:
        monkeypatch.setenv("MY_HUB_VARIABLE", value)
    with_token(project, "${MY_HUB_VARIABLE}")
    assert project.problem() == ("lora.yaml:3:13: model.hf_token: the environment variable MY_HUB_VARIABLE is not set")


def test_a_literal_token_works_and_draws_a_warning_without_it(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    with_token(project, TOKEN)
    with caplog.at_level(logging.WARNING, logger="thinker"):
        assert token_of(project) == TOKEN
    assert "lora.yaml:3:13: model.hf_token: " in caplog.text
    assert "HF_TOKEN" in caplog.text
    assert TOKEN not in caplog.text
    assert mask(f"x {TOKEN}") == "x ***"


@pytest.mark.parametrize(
    ("value", "problem"),
    [("''", "is empty"), ("$HF_TOKEN", "a variable is written ${NAME}"), ("[a]", "expected text, got a list")],
)
def test_a_token_that_cannot_be_one_is_told(project: Project, value: str, problem: str) -> None:
    with_token(project, value)
    assert project.problem().startswith(f"lora.yaml:3:13: model.hf_token: {problem}")


def test_a_token_never_shows(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    with_token(project, TOKEN)
    experiment = project.load(overrides=[f"model.hf_token={TOKEN}x"])
    shown = [repr(experiment), str(experiment.recipe), json.dumps(resolved_config(experiment)), *experiment.overrides]
    assert experiment.overrides == ("model.hf_token=***",)
    assert not [text for text in shown if TOKEN in text]
    assert resolved_config(experiment)["lora"]["model"]["hf_token"] is None
    assert TOKEN not in "".join(capsys.readouterr())


def test_a_token_does_not_show_in_the_errors_beside_it(project: Project) -> None:
    with_token(project, TOKEN)
    project.pipeline(f"task: {TOKEN}\ntests:\n", "tests:\n")
    project.lora(f"  learning_rate: {TOKEN}\n", "  learning_rate: 2e-4\n")
    problems = project.problems()
    assert len(problems) == 2
    assert TOKEN not in "".join(problems)


@pytest.mark.parametrize(
    "line", ["hf_token: [12345678]", "hf_token: 12345678", "api_key: 12345678", "hf_tokn: 12345678"]
)
def test_the_value_of_a_key_that_may_be_a_secret_is_never_echoed(project: Project, line: str) -> None:
    project.lora(f"  name: org/model\n  {line}\n", "  name: org/model\n")
    assert "12345678" not in project.problem()


@pytest.mark.parametrize(
    "expression",
    [
        f"model.hf_token={TOKEN}",
        f"model.hf_token=[{TOKEN}",
        f"hf_token={TOKEN}",
        f"model={{name: [x], hf_token: {TOKEN}}}",
        f"model={{name: org/model, hf_token: {TOKEN}",
        f"lora.api_key={TOKEN}",
        f"lora.r.password={TOKEN}",
    ],
)
def test_a_token_in_an_override_does_not_show_in_its_errors(project: Project, expression: str) -> None:
    try:
        shown = "".join(project.load(overrides=[expression]).overrides)
    except Exception as error:  # noqa: BLE001 (whatever comes out must not show it)
        shown = str(error)
    assert TOKEN not in shown
    assert "***" in shown


def test_an_override_that_names_a_variable_is_shown_as_it_is(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_HUB_VARIABLE", TOKEN)
    experiment = project.load(overrides=["model.hf_token=${MY_HUB_VARIABLE}"])
    assert experiment.overrides == ("model.hf_token=${MY_HUB_VARIABLE}",)


def test_the_token_is_no_part_of_the_fingerprint(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_HUB_VARIABLE", TOKEN)
    without = config_fingerprint(project.load())
    with_token(project, "${MY_HUB_VARIABLE}")
    assert config_fingerprint(project.load()) == without


def test_a_token_in_the_environment_is_masked_even_if_short(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "kq7z!")
    project.load()
    monkeypatch.delenv("HF_TOKEN")
    assert mask("a kq7z! b") == "a *** b"
