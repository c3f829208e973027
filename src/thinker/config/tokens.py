"""`model.hf_token`: read from the environment, or masked before anything can show it."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from typing import Final

from thinker import secrets
from thinker.config.problems import KeyPath, Problem
from thinker.config.source import ConfigSource

log = logging.getLogger("thinker")

_TOKEN: Final[KeyPath] = ("model", "hf_token")
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_HUB_VARIABLE: Final = "HF_TOKEN"


def take_token(source: ConfigSource) -> Iterator[Problem]:
    """Replace `${NAME}` in the LoRA file's data by the variable's value, and have every token masked from now on."""
    secrets.register(os.environ.get(_HUB_VARIABLE, ""))
    raw = source.get(*_TOKEN)
    if not isinstance(raw, str):
        return
    if variable := _VARIABLE.fullmatch(raw.strip()):
        value = os.environ.get(variable[1], "").strip()
        if not value:
            yield source.problem(_TOKEN, f"the environment variable {variable[1]} is not set")
        secrets.register(value)
        source.data["model"]["hf_token"] = value or None
    elif not raw.strip():
        yield source.problem(_TOKEN, f"is empty; leave the key out, and the variable {_HUB_VARIABLE} is used")
    elif raw.startswith("$"):
        yield source.problem(_TOKEN, "a variable is written ${NAME}, with braces")
    else:
        secrets.register(raw)
        log.warning(
            "%s: model.hf_token: a secret in the open; put it into the environment variable %s and write ${%s}",
            source.place(_TOKEN),
            _HUB_VARIABLE,
            _HUB_VARIABLE,
        )
