"""Sums of tensors with coefficients, and the products of a tensor's models with each other, from which many find them.

Whatever lies in the span of the models is known by its coefficients: means on a sphere, interpolations along an arc
and distances need only the matrix of all dot products, gathered part by part in double precision.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from luthier.merging.methods import Part, Tensors


def combined(
    tensors: Sequence[Float[Tensor, "rows width"]], coefficients: Sequence[float]
) -> Float[Tensor, "rows width"]:
    """Sum of each tensor times its coefficient, in a tensor of its own."""
    result = torch.zeros_like(tensors[0])
    for tensor, coefficient in zip(tensors, coefficients, strict=True):
        result.add_(tensor, alpha=coefficient)
    return result


def gram(tensors: Tensors, of: Callable[[Part], Sequence[Tensor]]) -> Float[Tensor, "models models"]:
    """Dot products, over the whole tensor, of what `of` takes from each part: float64."""
    total: Tensor | None = None
    for part in tensors:
        chosen = [each.reshape(-1) for each in of(part)]
        num = len(chosen)
        found = torch.zeros(num, num, dtype=torch.float64)
        for i in range(num):
            for j in range(i, num):
                found[i, j] = found[j, i] = torch.dot(chosen[i], chosen[j]).double()
        total = found if total is None else total + found
    assert total is not None, "a tensor has a part"
    return total
