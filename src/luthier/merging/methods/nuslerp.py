"""NuSLERP: SLERP of two models by their weights, t = w2 / (w1 + w2); of what they learnt where there is a base.

The arcs are Shoemake's 1985, https://doi.org/10.1145/325165.325242; weights and directions are mergekit's, 2024,
https://github.com/arcee-ai/mergekit.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from luthier.merging.methods import Each, Merge, Part, Tensors
from luthier.merging.methods._span import from_base, gram, products
from luthier.merging.methods._sphere import arc, cosines


class Nuslerp(Merge):
    """Along the arc between two models, as far as their weights say; a zero vector is at right angles to all."""

    needs_base = "may"
    num_models = (2, 2)

    weight: Each = (1.0,)
    """Of each model; where they sum to 0, half the way."""
    nuslerp_flatten: bool = True
    """Take the whole tensor as one vector."""
    nuslerp_row_wise: bool = False
    """Where it is not flattened: a vector for each column, along the first axis, as mergekit has it under this name;
    if not, one for each row, along the last."""

    def measure(self, tensors: Tensors, surveyed: Any) -> tuple[Tensor, Tensor] | int:
        """Coefficients of the whole or of each column; of rows, which lie whole in a part, only their length."""
        if self.nuslerp_flatten or len(tensors.shape) < 2:
            dots = gram(tensors, from_base)
        elif self.nuslerp_row_wise:
            dots = torch.zeros(2, 2, tensors.width, dtype=torch.float64)
            for part in tensors:
                dots += products(_vectors(part), dim=0)
        else:
            return tensors.shape[-1]
        return self._arcs(dots)

    def merge(self, part: Part, measured: tuple[Tensor, Tensor] | int) -> Float[Tensor, "rows width"]:
        """One sum of the two: of the part, or of each column, or of each row."""
        if isinstance(measured, int):
            vectors: Sequence[Tensor] = [each.reshape(-1, measured) for each in _vectors(part)]
            first, second = (each.unsqueeze(-1) for each in self._arcs(products(vectors, dim=-1)))
        elif not measured[0].dim():
            return from_base(part).sum([each.item() for each in measured])
        else:
            vectors, (first, second) = _vectors(part), measured
        made = (vectors[0] * first.to(vectors[0]) + vectors[1] * second.to(vectors[1])).reshape(part.models[0].shape)
        return made if part.base is None else made.add_(part.base)

    def _arcs(self, dots: Float[Tensor, "2 2 *vectors"]) -> tuple[Tensor, Tensor]:
        first, second = self.for_models("weight", 2)
        # mergekit's bound: what sums to less has no ratio
        t = second / (first + second) if abs(first + second) >= 1e-6 else 0.5
        return arc(t, cosines(dots)[0, 1])


def _vectors(part: Part) -> Sequence[Tensor]:
    return part.models if part.base is None else part.deltas
