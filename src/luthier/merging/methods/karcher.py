"""Karcher mean: the direction with the least squared angles to all models' directions, as long as their mean length.

m <- exp_m(sum α log_m(u)), with log_m(u) = φ / sin φ (u - cos φ m), until the step is small. Karcher 1977,
https://doi.org/10.1002/cpa.3160300502; of models' weights, https://arxiv.org/abs/2603.04972.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from luthier.errors import MergeError
from luthier.merging.methods import Each, Merge, Part, Tensors
from luthier.merging.methods._span import gram, models_alone
from luthier.merging.methods._sphere import RESOLVED, STRAIGHT, cosines, length, lengths


class Karcher(Merge):
    """The mean of the models' directions on the sphere, at their mean length."""

    weight: Each = (1.0,)
    """Of each model, none below 0; by their sum they are divided."""
    max_iter: int = Field(default=10, ge=1)
    """Most steps towards the mean."""
    tol: float = Field(default=1e-5, gt=0.0)
    """An angle in radians that is as good as none: a smaller step is the last."""

    def measure(self, tensors: Tensors, surveyed: Any) -> list[float]:
        """The mean lies in the span of the models: its coefficients, from their dot products over the whole tensor."""
        weights = self.for_models("weight", len(tensors.labels))
        if min(weights) < 0 or sum(weights) == 0:
            raise MergeError("karcher: a weight is below 0 or all are 0, so there is no mean; mend the weights")
        shares = torch.tensor(weights, dtype=torch.float64) / sum(weights)
        products = gram(tensors, models_alone)
        if not len(products) or len(shares) == 1:
            return shares.tolist()
        long = lengths(products)
        known = shares * (long > 0)  # a zero vector has a length, but no direction
        if not known.any():
            return shares.tolist()
        found = self._mean(cosines(products), known / known.sum())
        if found is None:
            if len(shares) > 2:
                raise MergeError(
                    f"karcher: {tensors.name}: the models' directions cancel each other out, so there is no mean of "
                    "them; take other weights, or linear"
                )
            return shares.tolist()  # between two opposites every way round is as short: the straight line
        return (found / long * (shares @ long)).where(long > 0, 0.0).tolist()

    def _mean(
        self, cosine: Float[Tensor, "models models"], shares: Float[Tensor, " models"]
    ) -> Float[Tensor, " models"] | None:
        """Coefficients of the unit vectors; None where they cancel each other out."""
        if length(shares, cosine) < max(self.tol, RESOLVED):
            return None
        mean = shares / length(shares, cosine)
        for _ in range(self.max_iter):
            towards = (cosine @ mean).clamp(-1, 1)
            angle = torch.acos(towards)
            # to the point opposite there is no one way, and there it is as far as it can be
            near = (angle < self.tol) | (angle > torch.pi - STRAIGHT)
            pull = torch.where(near, 0.0, shares * angle / torch.sin(angle.where(~near, 1.0)))
            step = pull - (pull @ towards) * mean
            size = length(step, cosine)
            if size < self.tol:
                break
            mean = math.cos(size) * mean + math.sin(size) / size * step
            mean = mean / length(mean, cosine)
        return mean

    def merge(self, part: Part, measured: list[float]) -> Float[Tensor, "rows width"]:
        """One sum of all models."""
        return models_alone(part).sum(measured)
