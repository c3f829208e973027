"""Code of the project's own, called so that it can neither change a row nor end the gate in a traceback.

A plugin tells what is wrong in any of these ways: it returns a text, or an iterable of texts; it returns False; it
raises ValueError with a text. None, True and blank text mean that nothing is, also among the items of an iterable.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinker import plugins
from thinker.errors import ConfigError


class PluginError(ConfigError):
    """A plugin failed, or answered with something that is no answer: neither the data's fault nor Thinker's.

    Attributes:
        what: the plugin, as messages call it.
        why: what went wrong with it.
        line, field: the place in the dataset; None and empty where no row is concerned.
    """

    def __init__(
        self, what: str, why: str, *, file: Path | None = None, line: int | None = None, field: str = ""
    ) -> None:
        place = ":".join(str(part) for part in (file, line) if part)
        super().__init__(": ".join(part for part in (place, field, f"{what} {why}") if part))
        self.what, self.why, self.line, self.field = what, why, line, field

    def at(self, *, file: Path | None = None, line: int | None = None, field: str = "") -> PluginError:
        """The same failure with its place told, as far as it is known."""
        return PluginError(self.what, self.why, file=file, line=line or self.line, field=field or self.field)


@dataclass(frozen=True)
class PluginCall:
    """One function of a plugin.

    Attributes:
        what: the plugin, as messages call it: `validator 'url'`.
        function: what is called; its arguments are passed as private copies.
    """

    what: str
    function: Callable[..., object]

    def texts(self, *arguments: object) -> list[str]:
        """What the plugin says is wrong.

        Raises:
            PluginError: it failed, or answered with something else than texts.
        """
        return [self._text(answer) for answer in self._answers(arguments)]

    def placed_texts(self, *arguments: object) -> list[tuple[str, str]]:
        """As `texts`, each with the field concerned (empty for none): here a tuple `(field, text)` is one answer."""
        return [
            answer if _is_pair(answer) else ("", self._text(answer))
            for answer in self._answers(arguments, single=_is_pair)
        ]

    def _answers(self, arguments: tuple[object, ...], single: Callable[[object], bool] = lambda _: False) -> list[Any]:
        answers: list[object] = []
        try:
            returned = self.function(*map(private_copy, arguments))
            if single(returned) or isinstance(returned, str | bytes | Mapping) or not isinstance(returned, Iterable):
                answers.append(returned)
            else:
                for answer in returned:  # one by one: those before an exception count
                    answers.append(answer)
        except ValueError as error:
            answers.append(str(error) or False)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit would end the gate as if it had passed
            raise PluginError(self.what, f"fails: {self._described(error)}") from error
        return [answer for answer in answers if not _means_fine(answer)]

    def _text(self, answer: object) -> str:
        if isinstance(answer, str):
            return answer
        if answer is False:
            return f"refused by the {self.what}"
        name = type(answer).__name__
        raise PluginError(self.what, f"answers with a value of type {name}; return None for what is fine, else texts")

    def _described(self, error: BaseException) -> str:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        frame = _frame_of(self.function, error)
        return f"{text} ({Path(frame.filename).name}:{frame.lineno}); mend it" if frame else f"{text}; mend it"


def new_plugin(group: plugins.Group, name: str) -> Any:
    """The plugin called `name`: a function, or a new instance of a class.

    Raises:
        ConfigError: no such plugin, or it cannot be loaded.
        PluginError: its class cannot be instantiated without arguments.
    """
    found = plugins.resolve(group, name)
    if not inspect.isclass(found):
        return found
    try:
        return found()
    except Exception as error:  # whatever the class of a user's raises
        why = f"cannot be made without arguments: {type(error).__name__}: {error}"
        raise PluginError(f"{group.removesuffix('s')} '{name}'", why) from error


def private_copy(value: Any) -> Any:
    """A JSON value as a copy that its receiver may change."""
    if isinstance(value, dict):
        return {key: private_copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [private_copy(item) for item in value]
    return value


def _means_fine(answer: object) -> bool:
    return answer is None or answer is True or (isinstance(answer, str) and not answer.strip())


def _is_pair(answer: object) -> bool:
    return isinstance(answer, tuple) and len(answer) == 2 and all(isinstance(part, str) for part in answer)


def _frame_of(function: Callable[..., object], error: BaseException) -> traceback.FrameSummary | None:
    """The innermost line of the plugin's own file, else the innermost line of all."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    own = _source_file(function)
    return next((frame for frame in reversed(frames) if frame.filename == own), frames[-1] if frames else None)


def _source_file(function: Callable[..., object]) -> str | None:
    for candidate in (inspect.unwrap(function), type(function)):
        try:
            return inspect.getsourcefile(candidate)
        except TypeError:  # an instance, or something built in
            continue
    return None
