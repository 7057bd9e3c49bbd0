"""Adapters as checkpoints whose tensors are the products B A, computed for the rows that are read."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from luthier.merging.adapters.lora_files import Adapter
from luthier.merging.parents.checkpoint import Checkpoint, Spec


class Products(Checkpoint):
    """What an adapter adds to each layer, zero where it has no update."""

    def __init__(self, adapter: Adapter, shapes: Mapping[str, tuple[int, int]]) -> None:
        self.adapter, self.shapes, self.label = adapter, shapes, adapter.label

    @cached_property
    def specs(self) -> Mapping[str, Spec]:
        return {name: Spec(shape, torch.float32) for name, shape in self.shapes.items()}

    @property
    def config(self) -> Mapping[str, Any]:
        return {}

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        factors = self.adapter.layers.get(name)
        return factors.rows(start, stop) if factors else _nothing(self.shapes[name], start, stop)


class Zeros(Checkpoint):
    """Zero everywhere, in the shapes of another."""

    def __init__(self, like: Checkpoint) -> None:
        self.like, self.label = like, "zero"

    @property
    def specs(self) -> Mapping[str, Spec]:
        return self.like.specs

    @property
    def config(self) -> Mapping[str, Any]:
        return {}

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        return _nothing(self.specs[name].shape, start, stop)


def _nothing(shape: tuple[int, ...], start: int, stop: int | None) -> Tensor:
    num = len(range(*slice(start, stop).indices(shape[0])))
    return torch.zeros(num, *shape[1:])
