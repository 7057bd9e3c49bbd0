"""DELLA: drop elements of a change by chance, the small ones sooner. Deep et al. 2024, https://arxiv.org/abs/2406.11617."""

from abc import ABC
from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from luthier.errors import MergeError
from luthier.merging.methods import Each, Tensors
from luthier.merging.methods._random import DroppedByRank, beginning
from luthier.merging.methods._sparse import Everything, Nothing, Selection, Sparse


class Pruned(Sparse, ABC):
    """What its kinds share."""

    density: Each = (0.3,)
    """Mean probability with which an element of a change is left, from 0 to 1."""
    epsilon: Each = (0.15,)
    """How far the probabilities of a row differ, by `spread`."""
    spread: Literal["whole", "half"] = "whole"
    """Epsilon is what lies between the least and the greatest probability (whole), or what they are away from the
    density (half)."""
    rescale: Literal["probability", "l1", "none"] = "probability"
    """Divide what is left by its probability, so that its mean is the change; or scale it so that the tensor's sum of
    magnitudes is what it was (l1); or leave it (none)."""
    seed: int = 0
    """Of the draws, with the names of tensor and model."""

    def select(self, tensors: Tensors, surveyed: Any) -> Sequence[Selection]:
        """By a draw for each element, with the probability of its rank."""
        num = len(tensors.labels)
        each = zip(self.for_models("density", num), self.for_models("epsilon", num), strict=True)
        return [self._selection(tensors, model, density, epsilon) for model, (density, epsilon) in enumerate(each)]

    def probabilities(self, width: int, density: float, epsilon: float) -> Float[Tensor, " width"]:
        """From the smallest magnitude of a row to its largest; that of a row's only element is the density."""
        away = epsilon if self.spread == "half" else epsilon / 2
        low, high = density - away, density + away
        if not 0 < low <= high < 1:
            raise MergeError(
                f"{self.kind()}: with density {density} and epsilon {epsilon} the probabilities go from {low:g} to "
                f"{high:g}; take an epsilon that keeps them between 0 and 1"
            )
        if width == 1:
            return torch.full((1,), density)
        if self.spread == "half":
            return low + torch.arange(width) / (width - 1) * 2 * away
        # The authors drop the i-th largest, from 0, with 1 - density - ε / 2 + ε i / width.
        return high - torch.arange(width - 1, -1, -1) / width * epsilon

    def _selection(self, tensors: Tensors, model: int, density: float, epsilon: float) -> Selection:
        if density >= 1 or density <= 0:
            return Everything() if density >= 1 else Nothing()
        return DroppedByRank(
            beginning(self.seed, tensors, model),
            probabilities=self.probabilities(tensors.width, density, epsilon),
            invert=self.rescale == "probability",
        )
