"""Sums of tensors with coefficients; what needs no change comes out unchanged, to the bit.

A sum whose coefficients add to 1 is taken as steps from one of the tensors, so that equal tensors give just that tensor
and one that weighs 1 beside zeros is copied. Steps are made block by block, so that no difference leaves the cache.
"""

from collections.abc import Sequence
from math import fsum

import torch
from jaxtyping import Float
from torch import Tensor

from luthier.errors import MergeError
from luthier.merging.methods._blocks import BLOCK, blocks

LEAST_SHARE = 1e-9
"""Of the weights' magnitudes, that their sum must be above."""


def combined(
    tensors: Sequence[Float[Tensor, "rows width"]], coefficients: Sequence[float]
) -> Float[Tensor, "rows width"]:
    """Sum of each tensor times its coefficient, in a tensor of its own; one with the coefficient 0 is not looked at."""
    terms = [(tensor, by) for tensor, by in zip(tensors, coefficients, strict=True) if by]
    if not terms:
        return torch.zeros_like(tensors[0])
    if len(terms) > 1 and fsum(coefficients) == 1:
        return averaged(tensors, coefficients)
    result = torch.mul(*terms[0])
    for tensor, by in terms[1:]:
        result.add_(tensor, alpha=by)
    return result


def moved(
    origin: Float[Tensor, "rows width"],
    tensors: Sequence[Float[Tensor, "rows width"]],
    coefficients: Sequence[float],
) -> Float[Tensor, "rows width"]:
    """origin + sum c (θ - origin), in a tensor of its own; one with the coefficient 0 is not looked at."""
    steps = [(tensor, by) for tensor, by in zip(tensors, coefficients, strict=True) if by]
    if len(steps) == 1:
        return torch.lerp(origin, *steps[0])  # which is one end at 0 and the other at 1, exactly
    result = origin.clone(memory_format=torch.contiguous_format)
    flat, start = result.view(-1), origin.reshape(-1)
    reached = [(tensor.reshape(-1), by) for tensor, by in steps]
    room = flat.new_empty(min(BLOCK, len(flat)))
    for block in blocks(len(flat)):
        step = room[: block.stop - block.start]
        for tensor, by in reached:
            flat[block].add_(torch.sub(tensor[block], start[block], out=step), alpha=by)
    return result


def total_of(weights: Sequence[float], *, kind: str, instead: str) -> float:
    """The sum of weights that something is divided by.

    Raises MergeError where they cancel each other out, so that rounding alone would be left; `instead` says what to do.
    """
    total = fsum(weights)
    if abs(total) <= LEAST_SHARE * fsum(map(abs, weights)):
        raise MergeError(f"{kind}: the weights sum to 0, so there is no mean; {instead}")
    return total


def averaged(tensors: Sequence[Float[Tensor, "rows width"]], weights: Sequence[float]) -> Float[Tensor, "rows width"]:
    """sum w θ / sum w; the weights do not sum to 0."""
    total = fsum(weights)
    heaviest = max(range(len(weights)), key=lambda each: abs(weights[each]))
    others = [each for each in range(len(weights)) if each != heaviest]
    return moved(tensors[heaviest], [tensors[each] for each in others], [weights[each] / total for each in others])
