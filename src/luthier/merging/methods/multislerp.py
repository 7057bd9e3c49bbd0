"""Multi-SLERP: the direction of the weighted mean of unit vectors, as long as the weighted mean of their lengths.

c_i = (w_i / |θ_i|) / |sum w θ / |θ|| · sum w |θ|. Goddard 2025, https://goddard.blog/posts/multislerp-wow-what-a-cool-idea.

There a step follows in the space tangent to that direction: the mean of the vectors' projections on it. That is always
0, for what is projected away is the weighted mean itself; so there is none here. Karcher's mean is where such steps
lead when they are as long as the angles.
"""

from typing import Any

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from luthier.errors import MergeError
from luthier.merging.methods import Each, Merge, Part, Tensors
from luthier.merging.methods._combine import total_of
from luthier.merging.methods._span import from_base, gram
from luthier.merging.methods._sphere import RESOLVED, cosines, length, lengths


class Multislerp(Merge):
    """The mean direction at the mean length, of what the models learnt where there is a base."""

    needs_base = "may"

    weight: Each = (1.0,)
    """Of each model."""
    normalize_weights: bool = True
    """Divide the weights by their sum."""
    eps: float = Field(default=1e-8, gt=0.0)
    """Where directions cancel each other out to less than this, there is no mean direction."""

    def measure(self, tensors: Tensors, surveyed: Any) -> list[float]:
        """The mean lies in the span of the vectors: its coefficients, from their dot products over the whole tensor."""
        num = len(tensors.labels)
        weights = self.for_models("weight", num)
        if self.normalize_weights:
            total = total_of(weights, kind="multislerp", instead="say normalize_weights: false, or other weights")
            weights = tuple(weight / total for weight in weights)
        if num == 1:
            return [1.0]
        products = gram(tensors, from_base)
        return self._coefficients(products, weights, tensors.name) if len(products) else list(weights)

    def _coefficients(self, products: Tensor, weights: Each, name: str) -> list[float]:
        weighted = products.new_tensor(weights)
        long = lengths(products)
        mean = length(weighted, cosines(products))
        if mean < max(self.eps, RESOLVED):
            if long.any() and len(weights) > 2:
                raise MergeError(
                    f"multislerp: {name}: the weighted directions cancel each other out, so there is no mean of them; "
                    "take other weights, or linear"
                )
            return list(weights)  # on the straight line between two opposites; and zeros have any coefficients
        units = (weighted / long).where(long > 0, 0.0)
        return (units / mean * (weighted @ long)).tolist()

    def merge(self, part: Part, measured: list[float]) -> Float[Tensor, "rows width"]:
        """One sum of all vectors."""
        return from_base(part).sum(measured)
