"""What the local backend and the tokenizers need installed."""

from __future__ import annotations

import importlib.util
import logging
import sys
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


def keep_hub_kernels_off() -> None:
    """See to it that no library fetches native code from the hub and runs it in this process.

    On some CPUs and on MPS, bitsandbytes does so as soon as it is imported (which PEFT and Transformers' Trainer do,
    quantized or not), if the package `kernels` is installed. Here that package counts as not installed; what
    bitsandbytes then advises is kept quiet, as is what it says of each 8-bit product.
    """
    sys.modules.setdefault("kernels", None)  # type: ignore[arg-type]  # how Python marks what must not be imported
    logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(_speaks_of_no_kernel)
    logging.getLogger("bitsandbytes.autograd._functions").addFilter(_speaks_of_no_cast)


def _speaks_of_no_kernel(record: logging.LogRecord) -> bool:
    return "kernels-community" not in str(record.msg)


def _speaks_of_no_cast(record: logging.LogRecord) -> bool:
    return "inputs will be cast" not in str(record.msg)
