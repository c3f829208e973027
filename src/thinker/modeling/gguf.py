"""A `.gguf` model as a folder of safetensors: dequantized once, kept in the cache under the file's hash.

Reading a GGUF file takes many times as long as reading the folder, and bitsandbytes quantizes from the folder.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from thinker.errors import PreconditionError
from thinker.files import folder_in_one_step
from thinker.hashing import sha256_file
from thinker.modeling.packages import HOW_TO_INSTALL

log = logging.getLogger("thinker")


def as_folder(gguf: Path, cache_dir: Path) -> Path:
    """The folder that stands for `gguf`: weights in float32, configuration, tokenizer, chat template.

    Raises:
        PreconditionError: the file is not a GGUF model that Transformers can read.
    """
    folder = cache_dir / "models" / _folder_name(gguf)
    if folder.is_dir():
        return folder
    log.info("model: reading %s once into the cache (float32 weights)", gguf.name)
    with folder_in_one_step(folder) as temporary:
        _convert(gguf, temporary)
    return folder


def tokenizer_folder(gguf: Path, cache_dir: Path) -> Path:
    """A folder with the tokenizer of `gguf`: the one of `as_folder` if it was made, else one of the tokenizer alone.

    Raises:
        PreconditionError: Transformers is not installed, or cannot read the file's tokenizer.
    """
    try:
        name = _folder_name(gguf)
    except importlib.metadata.PackageNotFoundError as error:
        raise PreconditionError(f"reading the tokenizer of {gguf.name} takes Transformers; {HOW_TO_INSTALL}") from error
    if found := unpacked_tokenizer(gguf, cache_dir):
        return found
    folder = cache_dir / "tokenizers" / name
    log.info("tokenizer: reading that of %s once into the cache", gguf.name)
    with folder_in_one_step(folder) as temporary:
        with _gguf_errors(gguf):
            tokenizer = _read_tokenizer(gguf)
        tokenizer.save_pretrained(temporary)
    return folder


def unpacked_tokenizer(gguf: Path, cache_dir: Path) -> Path | None:
    """The folder of the cache that holds the tokenizer of `gguf`; None where it was never unpacked."""
    folders = (cache_dir / kind / _folder_name(gguf) for kind in ("models", "tokenizers"))
    return next((folder for folder in folders if folder.is_dir()), None)


def _folder_name(gguf: Path) -> str:
    return f"{sha256_file(gguf)[:32]}-transformers-{importlib.metadata.version('transformers')}"


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, GgufConfig

    with _gguf_errors(gguf):
        tokenizer = _read_tokenizer(gguf)
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
        )
    # The weights are no longer quantized; a loader that found this key would try to unpack them again.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    except SafetensorError as error:  # a full disk
        raise OSError(str(error)) from error


def _read_tokenizer(gguf: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)


@contextlib.contextmanager
def _gguf_errors(gguf: Path) -> Iterator[None]:
    """What Transformers says of a file that it cannot read, in one line; without the progress bar of its own."""
    try:
        # Nothing else turns that bar off.
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    except (OSError, ValueError, ImportError, KeyError, NotImplementedError) as error:
        raise PreconditionError(f"{gguf}: not a GGUF model that Transformers can read: {error}") from error
