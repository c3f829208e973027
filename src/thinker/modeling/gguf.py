"""A `.gguf` model as a folder of safetensors: dequantized once, kept in the cache under the file's hash.

Reading a GGUF file takes many times as long as reading the folder, and bitsandbytes quantizes from the folder.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import logging
from pathlib import Path

from thinker.errors import PreconditionError
from thinker.files import folder_in_one_step
from thinker.hashing import sha256_file

log = logging.getLogger("thinker")


def as_folder(gguf: Path, cache_dir: Path) -> Path:
    """The folder that stands for `gguf`: weights in float32, configuration, tokenizer, chat template.

    Raises:
        PreconditionError: the file is not a GGUF model that Transformers can read.
    """
    version = importlib.metadata.version("transformers")
    folder = cache_dir / "models" / f"{sha256_file(gguf)[:32]}-transformers-{version}"
    if folder.is_dir():
        return folder
    log.info("model: reading %s once into the cache (float32 weights)", gguf.name)
    with folder_in_one_step(folder) as temporary:
        _convert(gguf, temporary)
    return folder


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        # The reader draws a progress bar of its own, which nothing else turns off.
        with contextlib.redirect_stderr(io.StringIO()):
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
            model = AutoModelForCausalLM.from_pretrained(
                gguf.parent, gguf_file=gguf.name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
            )
    except (OSError, ValueError, ImportError, KeyError, NotImplementedError) as error:
        raise PreconditionError(f"{gguf}: not a GGUF model that Transformers can read: {error}") from error
    # The weights are no longer quantized; a loader that found this key would try to unpack them again.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    except SafetensorError as error:  # a full disk
        raise OSError(str(error)) from error
