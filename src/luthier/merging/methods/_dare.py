"""DARE: drop each element of a change by chance, and scale the rest. Yu et al. 2023, https://arxiv.org/abs/2311.03099."""

from abc import ABC
from collections.abc import Sequence
from typing import Any, Literal

from luthier.merging.methods import Each, Tensors
from luthier.merging.methods._random import Dropped, beginning
from luthier.merging.methods._sparse import Everything, Nothing, Selection, Sparse


class Dare(Sparse, ABC):
    """What its kinds share."""

    density: Each = (0.1,)
    """Probability with which an element of a change is left, from 0 to 1."""
    rescale: Literal["density", "l1", "none"] = "density"
    """Divide what is left by the density, so that its mean is the change; or scale it so that the tensor's sum of
    magnitudes is what it was (l1); or leave it (none)."""
    seed: int = 0
    """Of the draws, with the names of tensor and model."""

    def select(self, tensors: Tensors, surveyed: Any) -> Sequence[Selection]:
        """By a draw for each element."""
        densities = self.for_models("density", len(tensors.labels))
        return [self._selection(tensors, model, density) for model, density in enumerate(densities)]

    def _selection(self, tensors: Tensors, model: int, density: float) -> Selection:
        if density >= 1 or density <= 0:
            return Everything() if density >= 1 else Nothing()
        factor = 1 / density if self.rescale == "density" else 1.0
        return Dropped(beginning(self.seed, tensors, model), density=density, factor=factor)
