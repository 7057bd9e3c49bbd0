"""Fisher: Σ w F θ / Σ w F, F what each model's data say of every weight. Matena & Raffel 2022, https://arxiv.org/abs/2111.09832."""

from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from luthier.merging.methods import Each, Merge, Part
from luthier.merging.methods._combine import combined, total_of


class Fisher(Merge):
    """The mean in which each weight counts by its Fisher information: the mean of its squared gradients."""

    statistics: ClassVar[Literal["none", "weights", "inputs"]] = "weights"

    weight: Each = (1.0,)
    """Of each model."""

    def merge(self, part: Part, measured: Any) -> Float[Tensor, "rows width"]:
        """Where no model's data say anything, or nothing was gathered for all of them, the weighted mean."""
        weights = self.for_models("weight", len(part.models))
        total = total_of(weights, kind="fisher", instead="give at least one model another")
        mean = combined(part.models, weights).div_(total)
        if len(part.statistics) != len(part.models):
            return mean
        divisor = combined(part.statistics, weights)
        # Shares, and not products, since the numbers may be as small as 1e-30; of what is away from the mean.
        away = torch.zeros_like(mean)
        for model, weight, statistic in zip(part.models, weights, part.statistics, strict=True):
            away.addcmul_((model - mean), statistic / divisor, value=weight)
        return mean.add_(away.masked_fill_(divisor == 0, 0.0))
