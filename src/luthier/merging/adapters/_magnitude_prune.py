"""Magnitude pruning: of each update the largest weights stay, and what stays is added; θ₀ + sum w top(δ, density).

PEFT has it as `magnitude_prune`; of equal magnitudes the first stay.
"""

from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from luthier.merging.methods import Each, Merge, Part, Tensors
from luthier.merging.methods._combine import combined
from luthier.merging.methods._largest import Cut, largest


class MagnitudePrune(Merge):
    """The sum of the largest of each update."""

    needs_base: ClassVar[Literal["yes", "may", "no"]] = "yes"
    weight: Each = (1.0,)
    """Of each update."""
    density: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of each update's weights that stays, rounded down."""

    def measure(self, tensors: Tensors, surveyed: Any) -> list[Cut] | None:
        """Where each update is cut; None where nothing stays."""
        num = int(self.density * tensors.num_rows * tensors.width)
        if num == 0:
            return None
        found = largest(tensors, [[num]] * len(tensors.labels), of=lambda part: part.deltas)
        return [cut for [cut] in found]

    def merge(self, part: Part, measured: list[Cut] | None) -> Float[Tensor, "rows width"]:
        assert part.base is not None, "needs a base"
        if measured is None:
            return part.base.clone()
        kept = [cut.of(delta, part.start) for cut, delta in zip(measured, part.deltas, strict=True)]
        return torch.add(part.base, combined(kept, self.for_models("weight", len(kept))))
