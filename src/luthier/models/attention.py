"""Attention of rows that lie flat, one after the other in (1, heads, tokens, width): each row sees itself alone.

On a CPU rows of like length are multiplied together as plain batched products, with a backward pass of their own:
softmax(Q K' / sqrt(width)) V of rows of a sentence or a page is then up to 3.7 times as fast as torch's fused kernel
(benchmarks/README.md). On a GPU torch's varlen kernel does it: Dao 2023, https://arxiv.org/abs/2307.08691.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from luthier.models.dropout import kept

NAME = "luthier-flat"
"""What it is called in transformers' table of attention functions."""
HALVES = (torch.bfloat16, torch.float16)
"""What a GPU's kernel takes; it has no dropout either, so that what it does not take is done by hand there too."""
LONG = 512
"""Tokens of a row beyond which torch's kernel is as fast as products by hand, and its memory does not grow by the
square (both passes, bf16, 9 heads of 64: 4 rows of 512 tokens take 62 ms, by hand 57; 12 of 170, 50 and 14)."""
LIKE = 1.2
"""Rows whose lengths differ by less than this factor are computed together, padded to the longest."""


@dataclass(frozen=True)
class Group:
    """Rows that are computed together."""

    places: Int[Tensor, "batch seq"]
    """Where each row's tokens are among all; beyond a row's end, any token of it."""
    lengths: Int[Tensor, " batch"] | None
    """Tokens of each row; None where all have as many as there are places."""

    @cached_property
    def is_real(self) -> Tensor | None:
        """(batch, seq): which places are tokens; None where all are."""
        if self.lengths is None:
            return None
        return torch.arange(self.places.shape[1], device=self.places.device) < self.lengths[:, None]

    def on(self, device: torch.device) -> "Group":
        """The same on another device."""
        if self.places.device == device:
            return self
        lengths = None if self.lengths is None else self.lengths.to(device, non_blocking=True)
        return Group(self.places.to(device, non_blocking=True), lengths)

    def mask(self, dtype: torch.dtype, *, causal: bool, window: int | None) -> Tensor | None:
        """(batch or 1, seq, seq), 0 where a token sees another and -inf where not; None where each sees each."""
        seq, device = self.places.shape[1], self.places.device
        if not causal and self.is_real is None and (window is None or window >= seq):
            return None
        hidden = torch.zeros(1, seq, seq, dtype=torch.bool, device=device)
        steps = torch.arange(seq, device=device)
        if causal:
            hidden = hidden | (steps[:, None] < steps)
        if window is not None:
            hidden = hidden | ((steps[:, None] - steps).abs() >= window)
        if self.is_real is not None:
            hidden = hidden | ~self.is_real[:, None]
        return torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill_(hidden, -torch.inf)


class Rows:
    """Rows that lie one after the other, and how attention takes them."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths = tuple(length for length in lengths if length)  # an empty text may have no token

    @cached_property
    def runs(self) -> "list[Run]":
        """Neighbours that are computed in the same way; a long row is a run of its own."""
        runs, start = [], 0
        for is_long, numbers in groupby(range(len(self.lengths)), key=lambda row: self.lengths[row] > LONG):
            together = [self.lengths[row] for row in numbers]
            for lengths in [[length] for length in together] if is_long else [together]:
                end = start + sum(lengths)
                rows = self if len(lengths) == len(self.lengths) else Rows(lengths)
                runs.append(Run(rows, slice(start, end), is_long))
                start = end
        return runs

    @cached_property
    def groups(self) -> list[Group]:
        """All rows, those of like length together."""
        starts = torch.tensor((0, *self.lengths)).cumsum(0).tolist()
        order = sorted(range(len(self.lengths)), key=lambda row: -self.lengths[row])
        groups: list[list[int]] = []
        for row in order:
            if groups and self.lengths[groups[-1][0]] <= LIKE * self.lengths[row]:
                groups[-1].append(row)
            else:
                groups.append([row])
        return [self._group(sorted(rows), starts) for rows in groups]

    def _group(self, rows: Sequence[int], starts: Sequence[int]) -> Group:
        lengths = torch.tensor([self.lengths[row] for row in rows])
        first = torch.tensor([starts[row] for row in rows])
        steps = torch.arange(int(lengths.max()))
        places = first[:, None] + torch.minimum(steps, lengths[:, None] - 1)
        return Group(places, None if bool((lengths == lengths[0]).all()) else lengths)

    @cached_property
    def borders(self) -> Int[Tensor, " rows_and_one"]:
        """Where each row begins, and the end, as a GPU kernel takes them."""
        return torch.tensor((0, *self.lengths), dtype=torch.int32).cumsum(0, dtype=torch.int32)


@dataclass(frozen=True)
class Run:
    """Neighbouring rows, and where their tokens are among all."""

    rows: Rows
    places: slice
    is_long: bool


@dataclass(frozen=True)
class How:
    """What one layer asks of attention."""

    scale: float
    dropout: float
    causal: bool
    window: int | None


def attend(
    query: Float[Tensor, "heads tokens width"],
    key: Float[Tensor, "kv_heads tokens width"],
    value: Float[Tensor, "kv_heads tokens width"],
    rows: Rows,
    how: How,
) -> Float[Tensor, "heads tokens width"]:
    """Each row's attention over itself; several heads of a query may share one of a key."""
    if query.device.type == "cpu" or how.dropout or query.dtype not in HALVES:
        parts = [attend_run(query, key, value, run, how) for run in rows.runs]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    from torch.nn.attention.varlen import varlen_attn

    borders, longest = rows.borders.to(query.device, non_blocking=True), max(rows.lengths)
    window = (-1 if how.window is None else how.window - 1, 0 if how.causal else -1)
    q, k, v = (states.transpose(0, 1) for states in (query, key, value))
    kernel: Any = partial(varlen_attn, scale=how.scale, window_size=window, enable_gqa=len(key) < len(query))
    answer: Tensor = kernel(q, k, v, borders, borders, longest, longest)
    return answer.transpose(0, 1)


def attend_run(query: Tensor, key: Tensor, value: Tensor, run: Run, how: How) -> Tensor:
    """Of neighbouring rows: by hand, or, of one that is long, by torch's kernel, which keeps no probabilities."""
    query, key, value = (states[:, run.places] for states in (query, key, value))
    if not run.is_long or how.dropout:
        by_hand: Any = _Attend.apply
        attended: Tensor = by_hand(query, key, value, run.rows, how)
        return attended
    (group,) = run.rows.groups
    has_border = how.window is not None and how.window < query.shape[1]
    mask = group.on(query.device).mask(query.dtype, causal=how.causal, window=how.window) if has_border else None
    answer = F.scaled_dot_product_attention(
        query[None],
        key[None],
        value[None],
        mask,
        is_causal=how.causal and not has_border,
        scale=how.scale,
        enable_gqa=len(key) < len(query),
    )
    return answer[0]


class _Attend(torch.autograd.Function):
    """By hand: of each group only the probabilities are kept, and what dropout multiplied them by."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, rows: Rows, how: How) -> Tensor:
        answer, saved, groups = torch.empty_like(query), [], [group.on(query.device) for group in rows.groups]
        for group in groups:
            q, k, v = _gathered(query, key, value, group)
            mask = group.mask(q.dtype, causal=how.causal, window=how.window)
            chances = _scores(q * how.scale, k, mask).softmax(-1)
            factor = _kept(chances, how.dropout) if how.dropout else None
            _scatter(answer, (chances if factor is None else chances * factor) @ v, group)
            saved += [chances, factor]
        ctx.save_for_backward(query, key, value, *saved)
        ctx.groups, ctx.how = groups, how
        return answer

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *saved = ctx.saved_tensors
        gradients = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        for group, chances, factor in zip(ctx.groups, saved[::2], saved[1::2], strict=True):
            q, k, v = _gathered(query, key, value, group)
            d_answer = _together(above[0], len(key), group)
            if group.is_real is not None:  # what lies beyond a row's end was dropped
                by_row = d_answer.view(len(key), *group.places.shape[:1], -1, *group.places.shape[1:], key.shape[-1])
                by_row.mul_(group.is_real[:, None, :, None])
            d_chances = d_answer @ v.transpose(1, 2)
            d_value = (chances if factor is None else chances * factor).transpose(1, 2) @ d_answer
            if factor is not None:
                d_chances = d_chances.mul_(factor)
            d_scores = torch._softmax_backward_data(d_chances, chances, -1, chances.dtype).mul_(ctx.how.scale)
            for gradient, told in zip(gradients, (d_scores @ k, d_scores.transpose(1, 2) @ q, d_value), strict=True):
                _scatter(gradient, told, group)
        return *gradients, None, None


def _kept(chances: Tensor, p: float) -> Tensor:
    return kept(chances, p) if chances.device.type == "cpu" else F.dropout(torch.ones_like(chances), p)


def _gathered(query: Tensor, key: Tensor, value: Tensor, group: Group) -> Iterator[Tensor]:
    """Queries, (kv_heads * batch, heads / kv_heads * seq, width); keys and values, (kv_heads * batch, seq, width)."""
    return (_together(states, len(key), group) for states in (query, key, value))


def _together(states: Float[Tensor, "heads tokens width"], kv_heads: int, group: Group) -> Float[Tensor, "n seq width"]:
    """The states of a group's rows; heads that share a key lie one after the other, as if they were longer rows."""
    heads, _, width = states.shape
    batch, seq = group.places.shape
    rows = states.index_select(1, group.places.flatten()).view(kv_heads, heads // kv_heads, batch, seq, width)
    return rows.transpose(1, 2).reshape(kv_heads * batch, -1, width)


def _scores(q: Tensor, k: Tensor, mask: Tensor | None) -> Float[Tensor, "n queries keys"]:
    scores = q @ k.transpose(1, 2)
    if mask is not None:
        batch, seq = mask.shape[:2]
        scores.view(-1, batch, q.shape[1] // seq, seq, seq).add_(mask[:, None])
    return scores


def _scatter(all_states: Tensor, told: Float[Tensor, "n seq width"], group: Group) -> None:
    """Back to where the rows' tokens are; what was computed beyond their ends is dropped."""
    heads, _, width = all_states.shape
    batch, seq = group.places.shape
    kv_heads = len(told) // batch
    rows = told.view(kv_heads, batch, heads // kv_heads, seq, width).transpose(1, 2).reshape(heads, batch * seq, width)
    places = group.places.flatten()
    if group.is_real is not None:
        real = group.is_real.flatten()
        rows, places = rows[:, real], places[real]
    all_states.index_copy_(1, places, rows)
