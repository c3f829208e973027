"""A `.gguf` model as a folder of safetensors: dequantized once, kept in the cache under the file's hash.

Reading a GGUF file takes many times as long as reading the folder, and bitsandbytes quantizes from the folder.
"""

from __future__ import annotations

import importlib.metadata
import logging
import shutil
import tempfile
from pathlib import Path

from thinker.errors import PreconditionError
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
    folder.parent.mkdir(parents=True, exist_ok=True)
    log.info("model: reading %s once into the cache (float32 weights)", gguf.name)
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder.parent))
    try:
        _convert(gguf, temporary)
        try:
            temporary.replace(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
        )
    except (OSError, ValueError, ImportError, KeyError, NotImplementedError) as error:
        raise PreconditionError(f"{gguf}: not a GGUF model that Transformers can read: {error}") from error
    # The weights are no longer quantized; a loader that found this key would try to unpack them again.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
