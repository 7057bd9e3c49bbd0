"""Rows of like length that attention computes together, and where each layer finds their states.

What does not depend on numbers is made once for all layers: masks, and the places of each head's states.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Group:
    """Rows that are computed together."""

    places: Int[Tensor, "batch seq"]
    """Where each row's tokens are among all; beyond a row's end, any token of it."""
    lengths: Int[Tensor, " batch"] | None
    """Tokens of each row; None where all have as many as there are places."""
    _masks: dict[Any, Tensor | None] = field(default_factory=dict)

    @cached_property
    def is_real(self) -> Tensor | None:
        """(batch, seq): which places are tokens; None where all are."""
        if self.lengths is None:
            return None
        return torch.arange(self.places.shape[1], device=self.places.device) < self.lengths[:, None]

    def mask(self, like: Tensor, *, causal: bool, window: int | None) -> Tensor | None:
        """(batch or 1, seq or 1, seq), 0 where a token sees another and -inf where not; None where each sees each.

        It is the same in every layer. A causal token sees nothing beyond its row's end, and what lies there is dropped.
        """
        kind = like.dtype, like.device, causal, window
        if kind not in self._masks:
            hidden = self._hidden(causal, window)
            made = (
                None if hidden is None else torch.zeros(hidden.shape, dtype=like.dtype).masked_fill_(hidden, -torch.inf)
            )
            self._masks[kind] = None if made is None else made.to(like.device, non_blocking=True)
        return self._masks[kind]

    def _hidden(self, causal: bool, window: int | None) -> Tensor | None:
        steps = torch.arange(self.places.shape[1])
        apart = (steps[:, None] - steps)[None]
        hidden = []
        if causal:
            hidden.append(apart < 0)
        elif self.is_real is not None:
            hidden.append(~self.is_real[:, None])
        if window is not None and window < len(steps):
            hidden.append(apart.abs() >= window)
        return reduce(torch.logical_or, hidden) if hidden else None


@dataclass(frozen=True)
class ByHead:
    """The groups' states in one tensor, (places, width): group by group, head by head, row by row.

    Heads that share a key lie one after the other, as if they were longer rows of it.
    """

    groups: Sequence[Group]
    queries: Int[Tensor, " query_places"]
    """Which of the states, (tokens * heads, width), each place of a query has."""
    keys: Int[Tensor, " key_places"]
    of_queries: Int[Tensor, " tokens_by_heads"]
    """The place of each of a query's states."""
    of_keys: Int[Tensor, " tokens_by_kv_heads"]
    beyond: Int[Tensor, " few"]
    """Places of queries beyond their row's end."""

    @classmethod
    def of(cls, groups: Sequence[Group], heads: int, kv_heads: int, device: torch.device) -> "ByHead":
        queries, are_real = _places(groups, kv_heads, heads // kv_heads)
        keys, keys_are_real = _places(groups, kv_heads, 1)
        there = queries, keys, _turned(queries, are_real), _turned(keys, keys_are_real), (~are_real).nonzero()[:, 0]
        return cls(groups, *(index.to(device, non_blocking=True) for index in there))

    def split(self, states: Tensor, kv_heads: int) -> Iterator[Float[Tensor, "n some_seq width"]]:
        """Each group's part of such a tensor, (kv_heads * batch, seq or some times as much, width)."""
        num_places = sum(group.places.numel() for group in self.groups)
        start, times = 0, len(states) // num_places
        for group in self.groups:
            size = times * group.places.numel()
            yield states[start : start + size].view(kv_heads * len(group.places), -1, states.shape[-1])
            start += size


def _places(groups: Sequence[Group], kv_heads: int, sharing: int) -> tuple[Tensor, Tensor]:
    """The number of each place's state, token by token and head by head, and whether it is a token of its row."""
    of_head = torch.arange(kv_heads * sharing).view(kv_heads, 1, sharing, 1)
    numbers = [group.places[:, None] * (kv_heads * sharing) + of_head for group in groups]
    real = [torch.ones_like(g.places, dtype=torch.bool) if g.is_real is None else g.is_real for g in groups]
    are_real = [each[:, None].expand_as(number) for each, number in zip(real, numbers, strict=True)]
    return torch.cat([each.flatten() for each in numbers]), torch.cat([each.flatten() for each in are_real])


def _turned(numbers: Tensor, are_real: Tensor) -> Tensor:
    """The place of each number."""
    places = are_real.nonzero()[:, 0]
    return torch.empty_like(places).index_copy_(0, numbers[places], places)
