"""RegMean: W = (Σ Wᵢ Gᵢ) (Σ Gᵢ)⁻¹, the linear layer whose outputs are nearest to those of all models on their inputs.

Gᵢ = Xᵢᵀ Xᵢ are the dot products of a layer's inputs over the data of model i, off the diagonal times α. Jin et al.
2023, https://arxiv.org/abs/2212.09849. Weights are [out, in]; a tensor without such a matrix becomes the plain mean, so
none may be gathered for a layer that holds its weights as [in, out], as GPT-2's Conv1D does.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from luthier.errors import MergeError
from luthier.merging.methods import Each, Merge, Part, Tensors
from luthier.merging.methods._combine import combined, total_of

_RIDGE = 1e-10
"""Of the mean diagonal: what an input that never occurs is worth, so that its weights become the mean."""


@dataclass(frozen=True)
class _Solved:
    """The inputs of one layer: float64."""

    grams: tuple[Float[Tensor, "width width"], ...]
    """Of each model, times its weight."""
    factor: Float[Tensor, "width width"]
    """Cholesky's, of their sum."""


class Regmean(Merge):
    """Linear layers by least squares over the inputs that each model saw, all else by the mean."""

    statistics: ClassVar[Literal["none", "weights", "inputs"]] = "inputs"

    weight: Each = (1.0,)
    """Of each model."""
    alpha: float = 0.9
    """What dot products of different inputs are multiplied by, from 0 to 1: 1 is least squares."""

    def measure(self, tensors: Tensors, surveyed: object) -> _Solved | None:
        """None where not all models have their inputs' dot products."""
        found = [tensors.statistic(model) for model in range(len(tensors.labels))]
        given = [gram for gram in found if gram is not None]
        if len(given) < len(found):
            return None
        if wrong := [gram for gram in given if tuple(gram.shape) != (tensors.width, tensors.width)]:
            raise MergeError(
                f"regmean: {tensors.name} takes {tensors.width} inputs, and its matrix of dot products is "
                f"{list(wrong[0].shape)}; gather it anew, for layers whose weights are [out, in]"
            )
        weights = self.for_models("weight", len(given))
        grams = [self._damped(gram).mul_(weight) for gram, weight in zip(given, weights, strict=True)]
        total = torch.stack(grams).sum(dim=0)
        ridge = _RIDGE * float(total.diagonal().mean())
        if not ridge > 0:
            return None
        total.diagonal().add_(ridge)
        factor, failed = torch.linalg.cholesky_ex(total)
        if failed:
            raise MergeError(
                f"regmean: the dot products of {tensors.name}'s inputs have no inverse, which they have with positive "
                "weights and an alpha from 0 to 1"
            )
        return _Solved(tuple(grams), factor)

    def merge(self, part: Part, measured: _Solved | None) -> Float[Tensor, "rows width"]:
        """Away from the mean, so that where nothing is known it remains."""
        weights = self.for_models("weight", len(part.models))
        total = total_of(weights, kind="regmean", instead="give at least one model another")
        mean = combined(part.models, weights).div_(total)
        if measured is None:
            return mean
        away = torch.zeros(mean.shape, dtype=torch.float64)
        for model, gram in zip(part.models, measured.grams, strict=True):
            away.addmm_((model - mean).double(), gram)
        return mean.add_(torch.cholesky_solve(away.T, measured.factor).T.to(mean.dtype))

    def _damped(self, gram: Float[Tensor, "width width"]) -> Float[Tensor, "width width"]:
        """With less off the diagonal, in a tensor of its own."""
        damped = gram.double() * self.alpha
        damped.diagonal().copy_(gram.diagonal())
        return damped
