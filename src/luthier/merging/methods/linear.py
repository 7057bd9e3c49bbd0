"""Linear: sum w θ, over sum w where it is normalised. Model soups, Wortsman et al. 2022, https://arxiv.org/abs/2203.05482."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from luthier.merging.methods import Each, Merge, Part
from luthier.merging.methods._combine import averaged, combined, total_of


class Linear(Merge):
    """The weighted mean of the models."""

    weight: Each = (1.0,)
    """Of each model."""
    normalize: bool = True
    """Divide by the sum of the weights."""

    def merge(self, part: Part, measured: Any) -> Float[Tensor, "rows width"]:
        """The weighted mean, or the weighted sum."""
        weights = self.for_models("weight", len(part.models))
        if not self.normalize:
            return combined(part.models, weights)
        total_of(weights, kind="linear", instead="say normalize: false for their sum")
        return averaged(part.models, weights)
