"""Attention of rows that lie flat, one after the other in (1, heads, tokens, width): each row sees itself alone.

On a CPU rows of like length are multiplied together as plain batched products, with a backward pass of their own:
softmax(Q K' / sqrt(width)) V of rows of a sentence or a page is then up to 3.7 times as fast as torch's fused kernel
(benchmarks/README.md). On a GPU torch's varlen kernel does it: Dao 2023, https://arxiv.org/abs/2307.08691.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from luthier.models.dropout import kept
from luthier.models.groups import ByHead, Group

NAME = "luthier-flat"
"""What it is called in transformers' table of attention functions."""
HALVES = (torch.bfloat16, torch.float16)
"""What a GPU's kernel takes; it has no dropout either, so that what it does not take is done by hand there too."""
LONG = 512
"""Tokens of a row beyond which torch's kernel is as fast as products by hand, and its memory does not grow by the
square (both passes, bf16, 9 heads of 64: 4 rows of 512 tokens take 62 ms, by hand 57; 12 of 170, 50 and 14)."""
LIKE = 1.2
"""Rows whose lengths differ by less than this factor are computed together, padded to the longest."""


class Rows:
    """Rows that lie one after the other, and how attention takes them."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths = tuple(length for length in lengths if length)  # an empty text may have no token
        self._by_head: dict[Any, ByHead] = {}

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

    def by_head(self, heads: int, kv_heads: int, device: torch.device) -> ByHead:
        """Where a layer with so many heads finds its states, head by head; the same in every layer."""
        kind = heads, kv_heads, device
        if kind not in self._by_head:
            self._by_head[kind] = ByHead.of(self.groups, heads, kv_heads, device)
        return self._by_head[kind]

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
    mask = group.mask(query, causal=how.causal, window=how.window) if has_border else None
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
        heads, kv_heads = len(query), len(key)
        at, saved = rows.by_head(heads, kv_heads, query.device), list[Tensor | None]()
        queries = _taken(query, at.queries).mul_(how.scale)
        keys, values = _taken(key, at.keys), _taken(value, at.keys)
        answers = torch.empty_like(queries)
        parts = (at.split(states, kv_heads) for states in (queries, keys, values, answers))
        for group, q, k, v, answer in zip(at.groups, *parts, strict=True):
            chances = _scores(q, k, group.mask(q, causal=how.causal, window=how.window)).softmax(-1)
            factor = _kept(chances, how.dropout) if how.dropout else None
            torch.bmm(chances if factor is None else chances * factor, v, out=answer)
            saved += [chances, factor]
        ctx.save_for_backward(queries, keys, values, *saved)
        ctx.at, ctx.scale, ctx.heads, ctx.kv_heads = at, how.scale, heads, kv_heads
        return _given(answers, at.of_queries, heads)

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, ...]:
        at, kv_heads = ctx.at, ctx.kv_heads
        queries, keys, values, *saved = ctx.saved_tensors
        d_answers = _taken(above[0], at.queries).index_fill_(0, at.beyond, 0.0)
        gradients = torch.empty_like(queries), torch.empty_like(keys), torch.empty_like(values)
        parts = (at.split(states, kv_heads) for states in (queries, keys, values, d_answers, *gradients))
        for chances, factor, q, k, v, d_answer, d_q, d_k, d_v in zip(saved[::2], saved[1::2], *parts, strict=True):
            torch.bmm((chances if factor is None else chances * factor).transpose(1, 2), d_answer, out=d_v)
            d_chances = torch.bmm(d_answer, v.transpose(1, 2))
            if factor is not None:
                d_chances = d_chances.mul_(factor)
            d_scores = torch._softmax_backward_data(d_chances, chances, -1, chances.dtype)
            torch.bmm(d_scores, k, out=d_q)
            torch.bmm(d_scores.transpose(1, 2), q, out=d_k)
        d_queries, d_keys, d_values = gradients
        d_query = _given(d_queries.mul_(ctx.scale), at.of_queries, ctx.heads)
        return d_query, _given(d_keys, at.of_keys, kv_heads), _given(d_values, at.of_keys, kv_heads), None, None


def _kept(chances: Tensor, p: float) -> Tensor:
    return kept(chances, p) if chances.device.type == "cpu" else F.dropout(torch.ones_like(chances), p)


def _taken(
    states: Float[Tensor, "heads tokens width"], numbers: Int[Tensor, " places"]
) -> Float[Tensor, "places width"]:
    """A layer makes its states token by token, so that nothing is copied before."""
    return states.transpose(0, 1).reshape(-1, states.shape[-1]).index_select(0, numbers)


def _given(
    states: Float[Tensor, "places width"], places: Int[Tensor, " numbers"], heads: int
) -> Float[Tensor, "heads tokens width"]:
    """Back to where the tokens are; what was computed beyond a row's end is dropped."""
    return states.index_select(0, places).view(-1, heads, states.shape[-1]).transpose(0, 1)


def _scores(q: Tensor, k: Tensor, mask: Tensor | None) -> Float[Tensor, "n queries keys"]:
    scores = q @ k.transpose(1, 2)
    if mask is not None:
        seq = k.shape[1]
        by_row = (
            scores.view(-1, mask.shape[0], q.shape[1] // seq, seq, seq)
            if mask.shape[0] > 1
            else scores.view(-1, seq, seq)
        )
        by_row.add_(mask[:, None] if mask.shape[0] > 1 else mask)
    return scores
