"""How much memory a training step takes, by taking it with tensors that have a shape and no contents.

Forward and backward pass run for real on torch's fake tensors, so that every tensor that autograd saves or a layer
allocates comes and goes as it will in training; only the bytes are not there. This counts what the literature puts
into formulas for one architecture (Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer
Models", section 4: 34·s·b·h + 5·a·s²·b bytes a layer), for any architecture, precision, attention kernel and
adapter, with or without recomputation.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from thinker.data.encode import EncodedExample
from thinker.training.hf_peft.engine import fuse, unsuited
from thinker.training.hf_peft.loss import PaddedRows, RowLayout, keeps_logits
from thinker.training.hf_peft.skeleton import Skeleton
from thinker.training.workload import BatchShape

_MATRIX_PRODUCTS = frozenset({"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"})


@dataclass(frozen=True)
class StepMemory:
    """Tensors alive at the peak of a micro-batch's forward and backward pass, beside weights and adapter.

    Attributes:
        logits_bytes: those as wide as the vocabulary.
        activation_bytes: all others.
        block_bytes: of both, those in blocks smaller than the bound that the caller gave.
        low_precision_products: different shapes among its matrix products in 16 bits.
    """

    logits_bytes: int
    activation_bytes: int
    block_bytes: int
    low_precision_products: int


def replay_step(
    skeleton: Skeleton, shape: BatchShape, *, device: torch.device, compute: torch.dtype, checkpointing: bool,
    block_bound_bytes: int,
) -> StepMemory:  # fmt: skip
    """Take one micro-batch forward and backward.

    Args:
        skeleton: the model; it is given fake weights on `device` and cannot be used on `meta` any more.
        shape: of the micro-batch.
        device: that training uses.
        compute: precision of the passes.
        checkpointing: whether activations are recomputed.
        block_bound_bytes: see `StepMemory.block_bytes`.

    Raises:
        Exception: whatever torch raises where the model's path depends on the tensors' contents (some mixtures of
            experts), or where an operation has no fake implementation.
    """
    model = skeleton.model
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    autocast = contextlib.nullcontext() if compute == torch.float32 else torch.autocast(device.type, dtype=compute)
    layout = _layout(model, shape, device)
    batch = layout.collate(_rows_of(shape), 1.0)
    with FakeTensorMode() as mode:
        _give_fake_weights(model, device)
        tracker = _Tracker(skeleton.dimensions.vocabulary, shape, block_bound_bytes)
        tracker.ignore(_parameters_and_buffers(model))
        with tracker:
            fake = {
                name: mode.from_tensor(value).to(device) if isinstance(value, torch.Tensor) else value
                for name, value in batch.items()
            }
            with autocast:
                loss = layout.nll_sum(model, fake)
            loss.backward()
        del loss, fake
    return tracker.at_peak()


def _layout(model: Any, shape: BatchShape, device: torch.device) -> RowLayout:
    """As `prepare_engine` will choose it, unless the model is more than it says of itself."""
    if unsuited(model, device=device, longest=shape.longest):
        return PaddedRows(0, keeps_logits=keeps_logits(model))
    return fuse(model, device).layout


def _rows_of(shape: BatchShape) -> list[EncodedExample]:
    """Rows of the shape's lengths; its targets are dealt to their ends."""
    rows, left = [], shape.targets
    for length in sorted(shape.lengths):
        trained = min(left, length - 1)
        rows.append(EncodedExample([0] * length, [1.0] * trained))
        left -= trained
    return rows


def _give_fake_weights(model: torch.nn.Module, device: torch.device) -> None:
    """Swap every tensor on `meta` for a fake one on `device`; `model.to` would keep tied weights apart."""
    made: dict[int, torch.Tensor] = {}

    def fake(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in made:
            empty = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
            is_parameter = isinstance(tensor, torch.nn.Parameter)
            made[id(tensor)] = torch.nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
        return made[id(tensor)]

    for module in list(model.modules()):
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    tensors[name] = fake(tensor)


def _parameters_and_buffers(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()


class _Tracker(TorchDispatchMode):
    """Keeps account of the storages that operations make, until they are freed."""

    def __init__(self, vocabulary: int, shape: BatchShape, block_bound_bytes: int) -> None:
        super().__init__()
        self._vocabulary, self._longest, self._bound = vocabulary, shape.longest, block_bound_bytes
        self._even = min(shape.lengths) == shape.longest
        self._known: set[int] = set()
        self._live = self._logits = self._blocks = 0
        self._peak = (0, 0, 0)
        self._products: set[tuple[Any, ...]] = set()

    def ignore(self, tensors: Iterator[torch.Tensor]) -> None:
        """Leave these out: weights are accounted for elsewhere."""
        self._known.update(tensor.untyped_storage()._cdata for tensor in tensors)

    def at_peak(self) -> StepMemory:
        live, logits, blocks = self._peak
        return StepMemory(logits, live - logits, blocks, len(self._products))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor):
                self._account(tensor)
                if func._schema.name in _MATRIX_PRODUCTS and tensor.element_size() == 2:
                    operands = [argument for argument in args if isinstance(argument, torch.Tensor)]
                    self._products.add((func, *((tuple(each.shape), each.stride()) for each in operands)))
        return found

    def _account(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known or (self._even and self._is_mask(tensor)):
            return
        self._known.add(key)
        logits = size if tensor.dim() > 1 and tensor.shape[-1] == self._vocabulary else 0
        block = size if size < self._bound else 0
        self._add(size, logits, block)
        if self._live > self._peak[0]:
            self._peak = (self._live, self._logits, self._blocks)
        weakref.finalize(storage, self._free, key, size, logits, block)

    def _is_mask(self, tensor: torch.Tensor) -> bool:
        """Whether it says what attends to what.

        Transformers leaves it out where no row is padded, but cannot see that here, where the rows have no contents.
        """
        return tuple(tensor.shape[-3:]) == (1, self._longest, self._longest)

    def _free(self, key: int, size: int, logits: int, block: int) -> None:
        self._known.discard(key)
        self._add(-size, -logits, -block)

    def _add(self, size: int, logits: int, block: int) -> None:
        self._live += size
        self._logits += logits
        self._blocks += block
