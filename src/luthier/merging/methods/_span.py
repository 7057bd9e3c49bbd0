"""A mean that lies in the span of what is averaged is known by its coefficients, and they by the dot products alone.

So a method on a sphere reads a tensor twice: once for the matrix of all dot products (Gram's), gathered over the parts,
and once for one sum of each part. Directions, angles and lengths of whole tensors need no tensor in memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from luthier.errors import MergeError
from luthier.merging.methods import Part, Tensors
from luthier.merging.methods._blocks import BLOCK, blocks
from luthier.merging.methods._combine import combined, moved


@dataclass(frozen=True)
class Vectors:
    """Some rows of what a mean is taken of: tensors, or their differences from an origin."""

    tensors: Sequence[Float[Tensor, "rows width"]]
    origin: Float[Tensor, "rows width"] | None = None

    def sum(self, coefficients: Sequence[float]) -> Float[Tensor, "rows width"]:
        """Their sum with these coefficients, and the origin."""
        if self.origin is None:
            return combined(self.tensors, coefficients)
        return moved(self.origin, self.tensors, coefficients)


def from_base(part: Part) -> Vectors:
    """What the models learnt; their weights where there is no base."""
    return Vectors(part.models, part.base)


def models_alone(part: Part) -> Vectors:
    """The models' weights, whether there is a base or not."""
    return Vectors(part.models)


def with_base(part: Part) -> Vectors:
    """The base, where there is one, and the models after it."""
    return Vectors(part.models if part.base is None else (part.base, *part.models))


def gram(tensors: Tensors, of: Callable[[Part], Vectors]) -> Float[Tensor, "vectors vectors"]:
    """Dot products over the whole tensor, in float64; raises MergeError where they are not finite.

    Differences and products of fp32 numbers are taken in float64, where they lose nothing: an fp32 sum over millions
    of elements is right to four digits, and angles between models that share a base are often smaller than that.
    """
    total = torch.zeros(0, 0, dtype=torch.float64)
    for part in tensors:
        found = _gram(of(part))
        total = total + found if len(total) else found
    if not total.isfinite().all():
        raise MergeError(f"{tensors.name}: holds numbers that are not finite, so it has no length; look at the models")
    return total


def _gram(vectors: Vectors) -> Float[Tensor, "vectors vectors"]:
    flat = [tensor.reshape(-1) for tensor in vectors.tensors]
    origin = None if vectors.origin is None else vectors.origin.reshape(-1)
    found = torch.zeros(len(flat), len(flat), dtype=torch.float64)
    room = torch.empty(len(flat), min(BLOCK, len(flat[0])), dtype=torch.float64)
    for block in blocks(len(flat[0])):
        rows = room[:, : block.stop - block.start]
        for row, tensor in zip(rows, flat, strict=True):
            row.copy_(tensor[block])
        if origin is not None:
            rows.sub_(origin[block])
        found.addmm_(rows, rows.T)
    return found


def products(vectors: Sequence[Float[Tensor, "rows width"]], *, dim: int) -> Float[Tensor, "vectors vectors others"]:
    """Dot products in float64 along one axis: of each row with its like (-1), or of each column (0)."""
    num = len(vectors)
    found = []
    for block in blocks(len(vectors[0]), width=vectors[0].shape[1]):
        rows = [vector[block].double() for vector in vectors]
        pairs = {(i, j): (rows[i] * rows[j]).sum(dim) for i in range(num) for j in range(i, num)}
        found.append(torch.stack([torch.stack([pairs[min(i, j), max(i, j)] for j in range(num)]) for i in range(num)]))
    return torch.stack(found).sum(0) if dim == 0 else torch.cat(found, dim=-1)
