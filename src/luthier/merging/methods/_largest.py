"""The largest magnitudes of a tensor, exactly: which level they reach, and how many of those at it belong to them.

Magnitudes are compared in fp32, whose bits, the sign apart, have the order of whole numbers. Where a tensor comes at
once its bits are partitioned. Where it comes in parts, a first pass counts their upper 16 bits, and a second the lower
16 of those in the bucket that holds the level: both find the same level. Of elements at the level, those with the
lowest index come first.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from luthier.merging.methods import Part, Tensors
from luthier.merging.methods._blocks import blocks

ENDLESS = 2**63 - 1
_HALF_BITS = 16
_LOW = 2**_HALF_BITS - 1

Sweep = Callable[[Callable[[Sequence[Tensor]], None]], None]
"""Goes over all pieces of some tensors and gives each piece, of every one of them, to a function."""


@dataclass(frozen=True)
class Cut:
    """What is above a level of magnitude, and of what is at it that up to an index."""

    level: int
    """The bits of an fp32 magnitude."""
    last: int = ENDLESS
    """Index, in the whole tensor, of the last element at the level that belongs to the largest."""

    def of(self, values: Float[Tensor, "rows width"], start: int) -> Float[Tensor, "rows width"]:
        """The largest, and 0 elsewhere, of a part that begins at the element `start`."""
        if self.level == 0:  # only zeros are outside
            return values
        if values.dtype != torch.float32:
            kept = values * (bits_of(values) >= self.level)
        else:
            kept = functional.hardshrink(values, _magnitude(self.level - 1))
        first_late = self.last + 1 - start
        if first_late < kept.numel():
            late = kept.view(-1)[max(0, first_late) :]
            for block in blocks(late.numel()):
                piece = late[block]
                piece.masked_fill_(bits_of(piece) == self.level, 0.0)
        return kept


@dataclass(frozen=True)
class Level:
    """Where the largest end."""

    bits: int
    num_wanted: int
    """Elements at the level that belong to the largest."""
    num_at: int
    """All elements at the level."""


def bits_of(values: Float[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """Those of each magnitude, in a tensor of its own: a number that grows with the magnitude."""
    return values.to(torch.float32).abs().view(torch.int32)


def largest(
    tensors: Tensors, nums: Sequence[Sequence[int]], *, of: Callable[[Part], Sequence[Tensor]]
) -> list[list[Cut]]:
    """For each of what `of` takes from a part, the cuts that leave so many elements: each from 1 to all of them."""
    if tensors.is_one_part:
        [part] = tensors
        return [[_cut(values, num) for num in of_it] for values, of_it in zip(of(part), nums, strict=True)]

    def sweep(work: Callable[[Sequence[Tensor]], None]) -> None:
        for part in tensors:
            work(of(part))

    found = levels(sweep, nums)
    lasts = _lasts((of(part) for part in tensors), found)
    return [
        [Cut(level.bits, last) for level, last in zip(of_it, their, strict=True)]
        for of_it, their in zip(found, lasts, strict=True)
    ]


def levels(sweep: Sweep, nums: Sequence[Sequence[int]]) -> list[list[Level]]:
    """The levels down to which the wanted numbers of largest go, by two passes over pieces of any size and order."""
    lock = Lock()
    coarse = torch.zeros(len(nums), 2 ** (31 - _HALF_BITS), dtype=torch.int64)

    def count_upper(pieces: Sequence[Tensor]) -> None:
        for counts, values in zip(coarse, pieces, strict=True):
            found = torch.bincount(bits_of(values).view(-1) >> _HALF_BITS, minlength=counts.numel())
            with lock:
                counts += found

    sweep(count_upper)
    buckets = [[_bucket(counts, num) for num in of_it] for counts, of_it in zip(coarse, nums, strict=True)]
    fine = [{bucket: torch.zeros(_LOW + 1, dtype=torch.int64) for bucket, _ in of_it} for of_it in buckets]

    def count_lower(pieces: Sequence[Tensor]) -> None:
        for counts_of, values in zip(fine, pieces, strict=True):
            inside = _inside(values, list(counts_of))
            for counts, bits in zip(counts_of.values(), inside, strict=True):
                found = torch.bincount(bits & _LOW, minlength=_LOW + 1)
                with lock:
                    counts += found

    sweep(count_lower)
    return [
        [_level(bucket, counts_of[bucket], num) for bucket, num in of_it]
        for of_it, counts_of in zip(buckets, fine, strict=True)
    ]


def _inside(values: Float[Tensor, "rows width"], buckets: Sequence[int]) -> list[Int[Tensor, " inside"]]:
    """The bits of those that lie in each bucket; found with NumPy, which selects faster."""
    flat = values.reshape(-1)
    found = [[torch.empty(0, dtype=torch.int32)] for _ in buckets]
    for block in blocks(flat.numel()):
        bits = bits_of(flat[block])
        numbers = bits.numpy()
        for bucket, pieces in zip(buckets, found, strict=True):
            pieces.append(torch.from_numpy(numbers[(bits >> _HALF_BITS).numpy() == bucket]))
    return [torch.cat(pieces) for pieces in found]


def _level(bucket: int, counts: Int[Tensor, " low"], num: int) -> Level:
    low, num_wanted = _bucket(counts, num)
    return Level((bucket << _HALF_BITS) + low, num_wanted, int(counts[low]))


def _bucket(counts: Int[Tensor, " buckets"], num: int) -> tuple[int, int]:
    """The bucket that holds the num-th from above, and which one from above it is in there."""
    from_above = counts.flip(0).cumsum(0)
    place = int(torch.searchsorted(from_above, num))
    before = int(from_above[place - 1]) if place else 0
    return counts.numel() - 1 - place, num - before


def _cut(values: Float[Tensor, "rows width"], num: int) -> Cut:
    """Of a tensor that is there at once."""
    bits = bits_of(values).view(-1).numpy()
    place = bits.size - num
    bits.partition(place)
    level = int(bits[place])
    if not np.any(bits[:place] == level):
        return Cut(level)
    num_wanted = num - int(np.count_nonzero(bits[place:] > level))
    return Cut(level, int(np.flatnonzero(bits_of(values).view(-1).numpy() == level)[num_wanted - 1]))


def _lasts(parts: Iterable[Sequence[Tensor]], found: list[list[Level]]) -> list[list[int]]:
    """The index of each level's last wanted element; a pass more, only where a level has elements not wanted."""
    lasts = [[ENDLESS] * len(of_it) for of_it in found]
    open_ones = [
        (model, number, level)
        for model, of_it in enumerate(found)
        for number, level in enumerate(of_it)
        if level.num_at > level.num_wanted
    ]
    seen = [0] * len(open_ones)
    start = 0
    for pieces in parts if open_ones else ():
        for place, (model, number, level) in enumerate(open_ones):
            at = np.flatnonzero(bits_of(pieces[model]).view(-1).numpy() == level.bits)
            missing = level.num_wanted - seen[place]
            if 0 < missing <= at.size:
                lasts[model][number] = start + int(at[missing - 1])
            seen[place] += at.size
        start += pieces[0].numel()
    return lasts


def _magnitude(bits: int) -> float:
    return float(np.int32(bits).view(np.float32))
