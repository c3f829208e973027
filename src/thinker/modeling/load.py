"""Load a tokenizer or a base model by hub id, folder or `.gguf` file. Never code from the hub, never pickles."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinker.config.experiment import Experiment
from thinker.config.model_names import is_local
from thinker.errors import ConfigError, PreconditionError
from thinker.modeling.gguf import as_folder

if TYPE_CHECKING:
    import torch

log = logging.getLogger("thinker")


@dataclass(frozen=True)
class ModelSource:
    """Where a base model comes from.

    Attributes:
        name: hub id, or absolute path of a folder or `.gguf` file.
        revision: of a hub model.
        token: for gated hub models; None leaves it to the environment (HF_TOKEN).
        cache_dir: where a `.gguf` file is unpacked.
    """

    name: str
    revision: str | None
    token: str | None = field(repr=False)
    cache_dir: Path

    @classmethod
    def of(cls, experiment: Experiment, cache_dir: Path) -> ModelSource:
        """The base model of an experiment.

        Raises:
            ConfigError: neither file names one.
        """
        if experiment.base_model is None:
            raise ConfigError("no base model is named: set model.name in the LoRA file or evaluation.base_model")
        model = experiment.recipe.model if experiment.recipe else None
        token = model.hf_token.get_secret_value() if model and model.hf_token else None
        return cls(experiment.base_model, model.revision if model else None, token, cache_dir)

    def location(self) -> str:
        """What `from_pretrained` takes."""
        path = Path(self.name)
        return str(as_folder(path, self.cache_dir)) if path.suffix.lower() == ".gguf" else self.name

    def keywords(self) -> dict[str, Any]:
        return {"revision": self.revision or "main", "token": self.token, "trust_remote_code": False}


def load_tokenizer(source: ModelSource) -> Any:
    """The model's fast tokenizer.

    Raises:
        PreconditionError: there is no such model, or it has no tokenizer.
    """
    from transformers import AutoTokenizer

    with _quiet(), _explained(source):
        return AutoTokenizer.from_pretrained(source.location(), **source.keywords())


def load_model_config(source: ModelSource) -> Any:
    """The model's `config.json` as a Transformers configuration; no weights are read.

    Raises:
        PreconditionError: there is no such model.
    """
    from transformers import AutoConfig

    with _quiet(), _explained(source):
        return AutoConfig.from_pretrained(source.location(), **source.keywords())


def weight_files(source: ModelSource) -> list[Path]:
    """The safetensors files that loading will read; empty for a hub model that was not downloaded yet.

    Raises:
        PreconditionError: a `.gguf` file cannot be read.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    place = source.location()
    if not is_local(source.name):
        try:
            place = snapshot_download(
                place, revision=source.revision, allow_patterns=["*.safetensors"], local_files_only=True
            )
        except LocalEntryNotFoundError:
            return []
    return sorted(Path(place).glob("*.safetensors"))


def load_base_model(
    source: ModelSource,
    *,
    device: torch.device,
    dtype: str,
    quantization: str | None = None,
    device_map: str | dict[str, str | int] | None = None,
) -> Any:
    """The base model in evaluation mode on `device`.

    Args:
        source: which model.
        device: where it goes; `device_map` may spread it over several accelerators.
        dtype: precision of its weights (`float32`, `bfloat16`, `float16`).
        quantization: `4bit`, `8bit`, `none` or None.
        device_map: as Transformers takes it; without effect on CPU and MPS.

    Raises:
        PreconditionError: there is no such model, or bitsandbytes is missing.
    """
    import torch
    from transformers import AutoModelForCausalLM

    weights_dtype = getattr(torch, dtype)
    keywords: dict[str, Any] = {**source.keywords(), "dtype": weights_dtype, "use_safetensors": True}
    if quantization in ("4bit", "8bit"):
        keywords["quantization_config"] = _bitsandbytes_config(quantization, weights_dtype)
        keywords["device_map"] = {"": str(device)}
    if device.type == "cuda" and device_map is not None:
        # "auto" on a machine of one GPU is that GPU; naming it keeps the whole model there.
        single = device_map == "auto" and torch.cuda.device_count() == 1
        keywords["device_map"] = {"": str(device)} if single else device_map
    with _quiet(), _explained(source):
        model, loading = AutoModelForCausalLM.from_pretrained(source.location(), output_loading_info=True, **keywords)
    if absent := sorted(loading["missing_keys"]):
        raise PreconditionError(
            f"model '{source.name}' cannot be loaded: its files lack {len(absent)} of its weights ({absent[0]}, …); "
            "they would be random"
        )
    if "device_map" not in keywords:
        model.to(device)
    if quantization == "4bit":
        _keep_weights_as_packed(model)
    return model.eval()


def unpacked(model: Any) -> Any:
    """`model` without quantization, on the weights that its products use; as it is, where it is not quantized.

    A 4-bit layer keeps the precision it was quantized from, which is what its products unpack to; an 8-bit one becomes
    float32, in which its integers times their scales are whole.
    """
    import torch

    if not getattr(model, "is_quantized", False):
        return model
    with _quiet():
        model = model.dequantize(dtype=torch.float32 if getattr(model, "is_loaded_in_8bit", False) else model.dtype)
    model.is_loaded_in_4bit = False  # Transformers forgets to say so
    return model


def _keep_weights_as_packed(model: Any) -> None:
    """Keep bitsandbytes from repacking 4-bit weights on CPUs with AVX512-BF16, at the first product without gradients.

    Its other format rounds the scales of the blocks to bfloat16, so the weights are no longer those that training sees;
    a product with it has no gradient, so training would learn nothing more below the last layer once an evaluation loss
    was taken; and it cannot hold layers whose sizes are no multiples of 32 and 64
    (`bitsandbytes.nn.Linear4bit.forward`, `bitsandbytes.functional._convert_weight_packed_for_cpu`).
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def _bitsandbytes_config(quantization: str, compute_dtype: torch.dtype) -> Any:
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise PreconditionError(f"model.quantization: {quantization} needs bitsandbytes: {error}") from error
    from transformers import BitsAndBytesConfig

    if quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
    )


@contextlib.contextmanager
def _explained(source: ModelSource) -> Iterator[None]:
    """Turn Transformers' errors about a missing or unreadable model into one line."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        said = str(error).strip() or type(error).__name__
        first_line, *others = said.splitlines()
        reason = " ".join([first_line, *others]) if first_line.rstrip().endswith(":") else first_line
        raise PreconditionError(
            f"model '{source.name}' cannot be loaded: {' '.join(reason.split())} ({_what_it_takes(source.name, said)})"
        ) from error


def _what_it_takes(name: str, said: str) -> str:
    if "custom code" in said:
        return "Thinker never runs code that comes with a model"
    if is_local(name):
        return "a model's folder holds config.json, its weights as safetensors, and its tokenizer's files"
    return "a hub id needs network access or a filled cache, a gated model also HF_TOKEN in the environment"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's own progress bars and reports; what they would say of missing weights is an error here."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
