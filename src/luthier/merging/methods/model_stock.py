"""Model stock: t mean(θ) + (1 - t) θ0, with t = N cos φ / (1 + (N - 1) cos φ) and φ the angle between what two learnt.

Jang et al. 2024, https://arxiv.org/abs/2403.19522: fine-tuned models lie on a thin shell around their centre, and t is
the foot of the perpendicular from that centre on the line from the base to the mean. cos φ is the mean over all pairs.
"""

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from luthier.merging.methods import Merge, Part, Tensors
from luthier.merging.methods._combine import moved
from luthier.merging.methods._span import from_base, gram, products
from luthier.merging.methods._sphere import cosines

SINGULAR = 1e-6
"""Where 1 + (N - 1) cos φ is smaller, the models pull apart, and the base stays."""


class ModelStock(Merge):
    """From the base towards the models' mean, the farther the more they agree; a zero delta agrees with none.
    Where they disagree the base stays; in mergekit's style it is left the other way."""

    needs_base = "yes"
    num_models = (2, None)
    styles: ClassVar = {"mergekit": {"eps": 1e-6}}

    filter_wise: bool = False
    """An angle for each row of a tensor, that is for each filter, in place of one for the whole tensor. Of tensors of
    more than two axes a filter is all that lies under one index of the first, where mergekit takes the last axis."""
    eps: float = Field(default=0.0, ge=0.0)
    """Least product of two lengths to divide by: where deltas are shorter, they count as less in agreement."""

    def measure(self, tensors: Tensors, surveyed: Any) -> float | None:
        """t lies in the dot products of the deltas over the whole tensor; those of rows each part has itself."""
        if self.filter_wise:
            return None
        dots = gram(tensors, from_base)
        return self._interpolation(dots).item() if len(dots) else 0.0

    def merge(self, part: Part, measured: float | None) -> Float[Tensor, "rows width"]:
        """One sum from the base on."""
        num = len(part.models)
        assert part.base is not None
        if measured is not None:
            return moved(part.base, part.models, [measured / num] * num)
        mean = moved(part.base, part.models, [1 / num] * num)
        t = self._interpolation(products(part.deltas, dim=-1))
        return torch.lerp(part.base, mean, t.to(mean).unsqueeze(-1))

    def _interpolation(self, dots: Float[Tensor, "models models *rows"]) -> Float[Tensor, "*rows"]:
        num = len(dots)
        pairs = torch.triu_indices(num, num, offset=1)
        cosine = cosines(dots, least=self.eps)[pairs[0], pairs[1]].mean(0)
        denominator = 1 + (num - 1) * cosine
        singular = denominator < SINGULAR
        t = torch.where(singular, 0.0, num * cosine / denominator.where(~singular, 1.0))
        return t if self.style == "mergekit" else t.clamp_min(0.0)  # never away from the mean
