"""Activations that wait for backward in the host's memory, and come back to the GPU when it needs them.

Rhu et al. 2016, https://arxiv.org/abs/1602.08124.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.weak import WeakIdKeyDictionary

SMALLEST_BYTES = 2**16
"""Smaller tensors stay where they are: they would cost more calls than they save bytes."""


@contextmanager
def offloaded(model: nn.Module) -> Iterator[None]:
    """Within it a forward pass leaves what backward needs on the host; weights stay where they are."""
    host = _Host(WeakIdKeyDictionary({weight.untyped_storage(): True for weight in model.parameters()}))
    with saved_tensors_hooks(host.pack, host.unpack):
        yield


@dataclass(frozen=True)
class _Packed:
    """A tensor on the host, and where it came from."""

    values: Tensor
    device: torch.device


@dataclass
class _Host:
    """The two hooks of autograd."""

    weights: Any
    """The memory of the model's weights: it is there in any case."""
    known: Any = field(default_factory=WeakIdKeyDictionary)
    """Of each memory that is still in use, what was packed of it: query, key and value save one and the same input."""

    def pack(self, tensor: Tensor) -> Tensor | _Packed:
        storage = tensor.untyped_storage()
        if tensor.nbytes < SMALLEST_BYTES or storage in self.weights:
            return tensor
        shape = tensor.storage_offset(), tensor.dtype, tuple(tensor.shape), tensor.stride(), tensor._version
        packed: dict[Any, _Packed] = self.known.setdefault(storage, {})
        if shape not in packed:
            packed[shape] = _Packed(_on_host(tensor), tensor.device)
        return packed[shape]

    def unpack(self, packed: Tensor | _Packed) -> Tensor:
        if isinstance(packed, Tensor):
            return packed
        return packed.values.to(packed.device, non_blocking=True)


def _on_host(tensor: Tensor) -> Tensor:
    """A copy in page-locked memory, which the GPU writes while the program goes on."""
    values = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)
    return values.copy_(tensor, non_blocking=True)
