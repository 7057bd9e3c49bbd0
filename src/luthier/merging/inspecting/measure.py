"""Sums over the elements of tensors, from which norms, angles and conflicts follow; those of several tensors add up.

    deltas[i, j] = <δ_i, δ_j>          δ_i = θ_i - θ_0, what model i learnt
    conflicts: elements where the signs of two models that are not zero differ, among those where two are not zero

Two passes over the files: products and a histogram of magnitudes first, then, with each model's threshold known, what
would be kept of it. TIES, Yadav et al. 2023, https://arxiv.org/abs/2306.01708, keeps the largest of a whole checkpoint.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from luthier.merging.methods import Part
from luthier.merging.tensors import Streamed

DROPPED_BITS = 13
"""Of a fp32 number's 32, the last ones that the histogram does not tell apart: what is left tells 0.1 %."""
NUM_BINS = 2 ** (31 - DROPPED_BITS)


@dataclass(frozen=True)
class Sums:
    """Of one tensor or several."""

    num_elements: int
    base: float
    """Squared norm."""
    weights: Float[ndarray, " models"]
    """Squared norms."""
    with_base: Float[ndarray, " models"]
    """Dot products with the base."""
    deltas: Float[ndarray, "models models"]
    """Dot products of what the models learnt."""
    num_kept: Float[ndarray, " models"]
    """Elements that are among the largest of the model's whole task vector."""
    num_shared: float = 0
    """Elements that two models changed at least."""
    num_conflicts: float = 0
    """Those where signs differ."""
    num_kept_shared: float = 0
    """The same of what is kept."""
    num_kept_conflicts: float = 0

    def __add__(self, other: "Sums") -> "Sums":
        mine = (getattr(self, field.name) + getattr(other, field.name) for field in fields(self))
        return Sums(*mine)


def measure(tensors: Sequence[Streamed], *, density: float) -> list[Sums]:
    """Each tensor's sums, where of each model's whole task vector a share `density` is kept."""
    num_models = len(tensors[0].models)
    bins = torch.zeros(num_models, NUM_BINS, dtype=torch.int64)
    products = [_products(each, bins) for each in tensors]
    thresholds = [_threshold(of_one.numpy(), density) for of_one in bins]
    return [sums + _signs(each, thresholds) for sums, each in zip(products, tensors, strict=True)]


def _products(tensors: Streamed, bins: Int[Tensor, "models bins"]) -> Sums:
    total = _none(len(tensors.models))
    for part in tensors:
        assert part.base is not None, "a task vector begins at a base"
        for into, delta in zip(bins, part.deltas, strict=True):
            _count(delta, into)
        base, models = part.base.reshape(-1), [model.reshape(-1) for model in part.models]
        num = len(models)
        deltas = [delta.reshape(-1) for delta in part.deltas]
        gram = np.zeros((num, num))
        for i in range(num):
            for j in range(i, num):
                gram[i, j] = gram[j, i] = _dot(deltas[i], deltas[j])
        squares = np.array([_dot(model, model) for model in models])
        crossed = np.array([_dot(model, base) for model in models])
        total += Sums(base.numel(), _dot(base, base), squares, crossed, gram, np.zeros(num))
    return total


def _signs(tensors: Streamed, thresholds: Sequence[float]) -> Sums:
    num = len(thresholds)
    total = _none(num)
    for part in tensors:
        kept = [_kept(delta, least) for delta, least in zip(part.deltas, thresholds, strict=True)]
        counted = np.array([float(mask.sum()) for mask in kept])
        shared, differing = _conflicts(part, [delta != 0 for delta in part.deltas])
        kept_shared, kept_differing = _conflicts(part, kept)
        no_products = (np.zeros(num), np.zeros(num), np.zeros((num, num)))
        total += Sums(0, 0.0, *no_products, counted, shared, differing, kept_shared, kept_differing)
    return total


def _conflicts(part: Part, masks: Iterable[Bool[Tensor, "rows width"]]) -> tuple[float, float]:
    """Elements that two masks have at least, and those of them where signs differ."""
    up = torch.zeros_like(part.deltas[0], dtype=torch.int16)
    down = torch.zeros_like(up)
    for delta, mask in zip(part.deltas, masks, strict=True):
        up += (delta > 0) & mask
        down += (delta < 0) & mask
    return float(((up + down) >= 2).sum()), float(((up > 0) & (down > 0)).sum())


def _kept(delta: Float[Tensor, "rows width"], least: float) -> Bool[Tensor, "rows width"]:
    return (delta.abs() >= least) & (delta != 0)


def _count(delta: Float[Tensor, "rows width"], into: Int[Tensor, " bins"]) -> None:
    """Magnitudes by the first bits of their fp32 form, which rises with them."""
    bits = delta.abs().float().contiguous().view(torch.int32).reshape(-1) >> DROPPED_BITS
    if bits.numel() < NUM_BINS // 4:  # then most bins would be gone through for nothing
        into.index_add_(0, bits, torch.ones_like(bits, dtype=torch.int64))
    else:
        into += torch.bincount(bits, minlength=NUM_BINS)


def _threshold(bins: Int[ndarray, " bins"], density: float) -> float:
    """The lower end of the bin in which the magnitude lies above which a share `density` of all elements is."""
    from_above = bins[::-1].cumsum()
    number = NUM_BINS - 1 - int(np.searchsorted(from_above, max(1.0, density * bins.sum())))
    bits = np.array([max(number, 0) << DROPPED_BITS], dtype=np.int32)
    return float(bits.view(np.float32)[0])


def _dot(a: Float[Tensor, " n"], b: Float[Tensor, " n"]) -> float:
    """In fp32 within a piece, in double over pieces: long sums lose nothing that matters."""
    return float(sum(float(torch.dot(x, y)) for x, y in zip(a.split(2**16), b.split(2**16), strict=True)))


def _none(num_models: int) -> Sums:
    zeros = np.zeros(num_models)
    return Sums(0, 0.0, zeros, zeros, np.zeros((num_models, num_models)), zeros)
