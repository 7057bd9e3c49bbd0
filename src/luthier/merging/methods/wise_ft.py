"""WiSE-FT: (1 - α) θ0 + α θ, between what a model was and what it became. Wortsman et al. 2021,
https://arxiv.org/abs/2109.01903. Of several models, θ is their weighted mean.
"""

from typing import Any

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from luthier.merging.methods import Each, Merge, Part
from luthier.merging.methods._combine import moved, total_of


class WiseFt(Merge):
    """A point on the straight line from the base to the models' mean."""

    needs_base = "yes"

    alpha: float = Field(default=0.5, ge=0.0, le=1.0)
    """How far to go: 0 is the base, 1 the model."""
    weight: Each = (1.0,)
    """Of each model, in the mean of several; by their sum they are divided."""

    def merge(self, part: Part, measured: Any) -> Float[Tensor, "rows width"]:
        """One sum from the base on."""
        weights = self.for_models("weight", len(part.models))
        total = total_of(weights, kind="wise-ft", instead="take other weights")
        assert part.base is not None
        return moved(part.base, part.models, [self.alpha * weight / total for weight in weights])
