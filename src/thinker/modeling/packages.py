"""What the local backend and the tokenizers need installed."""

from __future__ import annotations

import importlib.util
from typing import Final

from thinker.errors import PreconditionError

PACKAGES: Final = ("torch", "transformers", "peft", "accelerate", "datasets", "safetensors")
HOW_TO_INSTALL: Final = "install Thinker with the extra 'hf' (in its folder: pip install '.[hf]')"


def require_packages() -> None:
    """Refuse to begin without the packages of the extra `hf`; imports none of them.

    Raises:
        PreconditionError: names those that are missing.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise PreconditionError(f"not installed: {', '.join(missing)}; {HOW_TO_INSTALL}")
