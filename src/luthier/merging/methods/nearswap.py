"""NearSwap: θ0 + clamp(θ - θ0, -t, t): where the two are near, the model's number, and elsewhere one step towards it.

The weight of the model is min(1, t / |θ - θ0|), which is the same. Alchemonaut 2024, in the card of the model
QuartetAnemoi-70B-t0.0001, whose t is the default.
"""

from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from luthier.merging.methods import Merge, Part


class Nearswap(Merge):
    """The base, each number moved towards the model's by no more than so much."""

    needs_base = "yes"
    num_models = (1, 1)

    t: float = Field(default=1e-4, ge=0.0)
    """Most that a number moves."""

    def merge(self, part: Part, measured: Any) -> Float[Tensor, "rows width"]:
        """The model's numbers, held within t of the base's."""
        assert part.base is not None
        return torch.clamp(part.models[0], part.base - self.t, part.base + self.t)
