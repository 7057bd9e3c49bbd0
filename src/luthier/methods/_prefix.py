"""The learnt keys and values of one attention unit, as they hang there, and what they are made of while training."""

import math
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from luthier.methods._parts import Part
from luthier.models import prefixed

Pair = tuple[Float[Tensor, "kv_heads length width"], Float[Tensor, "kv_heads length width"]]
"""Keys and values."""


class Source(Part):
    """tanh(W E + b), of which every unit makes its keys and values: Li & Liang's network, shared by all units."""

    held_as: ClassVar[str] = "prefix_source"
    hears: ClassVar[bool] = False

    def __init__(self, length: int, width: int, device: torch.device, generator: torch.Generator) -> None:
        super().__init__()
        self.vectors = nn.Parameter(_normal((length, width), 1.0, device, generator))
        self.weight = nn.Parameter(_like_linear((width, width), width, device, generator))
        self.bias = nn.Parameter(torch.zeros(width, device=device))

    def forward(self) -> Float[Tensor, "length width"]:
        return torch.tanh(F.linear(self.vectors, self.weight, self.bias))


class Prefix(Part):
    """The keys and values of one unit; `models/prefixed.py` puts them before its own."""

    held_as: ClassVar[str] = prefixed.HELD_AS
    hears: ClassVar[bool] = False

    def __init__(self, like: prefixed.States, length: int, dropout: float) -> None:
        """`like` are keys and values of the unit: it has as many heads, as wide, on the same device."""
        super().__init__()
        key, value = like
        self.length, self.dropout = length, dropout
        self.num_heads, self.widths = key.shape[1], (key.shape[3], value.shape[3])
        self.device = key.device
        self._source: tuple[Source, ...] = ()  # in a tuple, as it is no child of this one

    def start_at(self, pair: Pair) -> None:
        """Learn keys and values themselves, from these on; kept as (length, heads * width)."""
        for name in ("weight", "bias"):
            self._parameters.pop(name, None)
        self._source = ()
        key, value = (t.detach().float().transpose(0, 1).flatten(1).to(self.device, copy=True) for t in pair)
        self.key, self.value = nn.Parameter(key), nn.Parameter(value)

    def draw(self, scale: float, generator: torch.Generator) -> None:
        """Learn keys and values themselves, from random ones on."""
        for name, width in zip(("key", "value"), self.widths, strict=True):
            shape = (self.length, self.num_heads * width)
            setattr(self, name, nn.Parameter(_normal(shape, scale, self.device, generator)))

    def make_of(self, source: Source, generator: torch.Generator) -> None:
        """Learn a map from the shared network's output to keys and values."""
        self._source = (source,)
        width_in, width_out = source.vectors.shape[1], self.num_heads * sum(self.widths)
        self.weight = nn.Parameter(_like_linear((width_out, width_in), width_in, self.device, generator))
        self.bias = nn.Parameter(torch.zeros(width_out, device=self.device))

    def plain(self) -> Pair:
        """The keys and values as they are learnt, without dropout."""
        if self._source:
            made = F.linear(self._source[0](), self.weight, self.bias)
            key, value = made.split([self.num_heads * width for width in self.widths], dim=-1)
        else:
            key, value = self.key, self.value
        heads = (self.num_heads, -1)
        return key.unflatten(-1, heads).transpose(0, 1), value.unflatten(-1, heads).transpose(0, 1)

    def states(self) -> Pair:
        """What attention sees."""
        key, value = (F.dropout(states, self.dropout, self.training) for states in self.plain())
        return key, value


def _normal(shape: tuple[int, ...], scale: float, device: torch.device, generator: torch.Generator) -> Tensor:
    return torch.empty(shape).normal_(0, scale, generator=generator).to(device)


def _like_linear(shape: tuple[int, ...], width_in: int, device: torch.device, generator: torch.Generator) -> Tensor:
    """As torch draws the weight of a linear layer."""
    bound = 1 / math.sqrt(width_in)
    return torch.empty(shape).uniform_(-bound, bound, generator=generator).to(device)
