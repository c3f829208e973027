"""Chat templates without Transformers, rendered as it renders them.

Source: transformers 5.23, `utils/chat_template_utils.py`: `_cached_compile_jinja_template`, `render_jinja_template`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from thinker.errors import PreconditionError

if TYPE_CHECKING:
    import jinja2

# Older versions have known ways out of the sandbox, and a template comes with the model. Transformers asks for it too.
_NEEDED: Final = (3, 1, 6)
HOW_TO_INSTALL: Final = "install Thinker with the extra 'tokens' (in its folder: pip install '.[tokens]')"


def require_jinja() -> None:
    """Refuse to go on where no chat template can be rendered.

    Raises:
        PreconditionError: jinja2 is not installed, or too old.
    """
    try:
        import jinja2
    except ImportError as error:
        raise PreconditionError(f"chat templates need jinja2: {error}; {HOW_TO_INSTALL}") from error
    if tuple(int(part) for part in jinja2.__version__.split(".")[:3] if part.isdigit()) < _NEEDED:
        needed = ".".join(map(str, _NEEDED))
        raise PreconditionError(
            f"chat templates need jinja2 {needed} or later, not {jinja2.__version__}; {HOW_TO_INSTALL}"
        )


def render(
    template: str, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool, values: Mapping[str, Any]
) -> str:
    """The text of a conversation.

    Args:
        template: Jinja source.
        messages: turns with `role` and `content`.
        add_generation_prompt: whether the beginning of an assistant's turn comes last.
        values: what the template may also ask for: special tokens, a date.

    Raises:
        jinja2.TemplateError: the template is not valid, or refuses the conversation.
    """
    return _compiled(template).render(
        messages=[dict(message) for message in messages],
        tools=None,
        documents=None,
        add_generation_prompt=add_generation_prompt,
        **values,
    )


@lru_cache(maxsize=8)
def _compiled(source: str) -> jinja2.Template:
    import jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_generation_tag(), jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {
        "raise_exception": _raise_exception,
        "strftime_now": _strftime_now,
        "dict": _TemplateDict(),
        "namespace": _namespace(),
    }
    return environment.from_string(source)


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Unlike Jinja's own filter: HTML characters stay as they are."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    import jinja2

    raise jinja2.TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


class _TemplateDict:
    """`dict` as a template may use it, without the class's attributes."""

    def __call__(self, *args: Any, **values: Any) -> dict[Any, Any]:
        return dict(*args, **values)

    def fromkeys(self, keys: Any, value: Any = None) -> dict[Any, Any]:
        """As `dict.fromkeys`."""
        return dict.fromkeys(keys, value)


def _namespace() -> type:
    """Jinja's `namespace`, without names that begin with an underscore."""
    import jinja2.utils

    class TemplateNamespace(jinja2.utils.Namespace):
        def __init__(*args: Any, **values: Any) -> None:  # no `self`: a template may give a value of that name
            first, *others = args
            attributes = dict(*others, **values)
            for name in attributes:
                _refuse_underscore(name)
            jinja2.utils.Namespace.__init__(first, attributes)

        def __setitem__(self, name: str, value: Any) -> None:
            _refuse_underscore(name)
            super().__setitem__(name, value)

    return TemplateNamespace


def _refuse_underscore(name: Any) -> None:
    import jinja2.exceptions

    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a chat template cannot store the underscored name {name!r}")


def _generation_tag() -> type:
    """`{% generation %}`, which marks what the assistant writes; here it is rendered like any other text."""
    from jinja2 import nodes
    from jinja2.ext import Extension
    from jinja2.parser import Parser

    class GenerationTag(Extension):
        tags = {"generation"}  # noqa: RUF012  as jinja2 has it

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            # A call block, as in Transformers: what is set inside stays inside.
            return nodes.CallBlock(self.call_method("_rendered"), [], [], body).set_lineno(line)

        def _rendered(self, caller: Any) -> str:
            return str(caller())

    return GenerationTag
