import pytest
import torch

from thinker.errors import PreconditionError
from thinker.modeling.devices import resolve_device, resolve_precision


@pytest.mark.parametrize(
    ("fp16", "bf16", "device", "native", "compute", "announced"),
    [
        (True, None, "cuda", True, "float16", False),
        (True, None, "cpu", True, "bfloat16", True),
        (True, None, "cpu", False, "float32", True),
        (True, None, "mps", False, "float32", True),
        (False, True, "cuda", True, "bfloat16", False),
        (False, True, "cuda", False, "float16", True),
        (False, True, "mps", False, "float32", True),
        (False, True, "cpu", True, "bfloat16", False),
        (False, True, "cpu", False, "float32", True),
        (False, None, "cuda", True, "bfloat16", False),
        (False, None, "cuda", False, "float32", False),
        (False, None, "cpu", True, "float32", False),
        (False, False, "cuda", True, "float32", False),
    ],
)
def test_each_rule_of_the_precision_table(fp16, bf16, device, native, compute, announced) -> None:
    found = resolve_precision(fp16=fp16, bf16=bf16, dtype="auto", device_type=device, native_bf16=native)
    assert (found.compute, found.storage, bool(found.announcements)) == (compute, compute, announced)


def test_model_dtype_decides_how_weights_are_kept_and_nothing_else() -> None:
    found = resolve_precision(fp16=False, bf16=True, dtype="float32", device_type="cpu", native_bf16=True)
    assert (found.compute, found.storage) == ("bfloat16", "float32")


def test_cpu_is_always_there() -> None:
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_missing_cuda_device_is_refused_with_advice() -> None:
    with pytest.raises(PreconditionError, match=r"no CUDA device; set model.device to 'auto' or 'cpu'"):
        resolve_device("cuda")
