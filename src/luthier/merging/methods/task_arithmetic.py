"""Task arithmetic: θ0 + λ sum w (θ - θ0). Ilharco et al. 2022, https://arxiv.org/abs/2212.04089.

A negative weight takes away what a model learnt (forgetting on purpose), and weights such as 1, -1, 1 make analogies:
a is to b as c is to what comes out.
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from luthier.merging.methods import Each, Merge, Part
from luthier.merging.methods._combine import moved, total_of


class TaskArithmetic(Merge):
    """The base, and the weighted sum of what the models learnt."""

    needs_base = "yes"

    weight: Each = (1.0,)
    """Of each model; below 0 to take away what it learnt."""
    normalize: bool = False
    """Divide by the sum of the weights."""
    scale: float = 1.0
    """Of the whole sum; the papers' λ."""

    def merge(self, part: Part, measured: Any) -> Float[Tensor, "rows width"]:
        """One sum from the base on."""
        weights = self.for_models("weight", len(part.models))
        instead = "say normalize: false for their sum"
        total = total_of(weights, kind="task-arithmetic", instead=instead) if self.normalize else 1.0
        assert part.base is not None
        return moved(part.base, part.models, [self.scale * weight / total for weight in weights])
