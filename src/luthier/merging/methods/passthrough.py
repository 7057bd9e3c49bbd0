"""Passthrough: θ as it is, or times a number. With slices of layers it stacks them: depth up-scaling, Kim et al. 2023,
https://arxiv.org/abs/2312.15166.
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from luthier.merging.methods import Each, Merge, Part
from luthier.merging.methods._combine import combined


class Passthrough(Merge):
    """One model's tensors, copied."""

    num_models = (1, 1)

    scale: Each = (1.0,)
    """To multiply each number with."""

    def merge(self, part: Part, measured: Any) -> Float[Tensor, "rows width"]:
        """A copy."""
        return combined(part.models, self.for_models("scale", 1))
