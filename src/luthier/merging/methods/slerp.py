"""SLERP: from a to b along the arc, sin((1-t) φ) / sin φ a + sin(t φ) / sin φ b, the whole tensor being one vector.

Shoemake 1985, https://doi.org/10.1145/325165.325242.
"""

from typing import Any, ClassVar

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from luthier.errors import MergeError
from luthier.merging.methods import Merge, Part, Tensors
from luthier.merging.methods._span import gram, with_base
from luthier.merging.methods._sphere import arc, cosines


class Slerp(Merge):
    """Along the arc from the base to a model, or from one model to another; a zero vector is at right angles to all."""

    needs_base = "may"
    num_models = (1, 2)
    styles: ClassVar = {"mergekit": {"dot_threshold": 0.9995}}

    t: float = 0.5
    """How far to go: 0 is the base, or the first of two models, and 1 the other."""
    dot_threshold: float = Field(default=1.0, ge=0.0, le=1.0)
    """Where the cosine of the angle is farther from 0, go along the straight line."""

    @classmethod
    def require(cls, num: int, *, has_base: bool, where: str) -> None:
        """A base and one model, or two models."""
        if num + has_base != 2:
            beside = " and a base" if has_base else ""
            raise MergeError(f"{where}: slerp merges a base and one model, or two models; not {num}{beside}")

    def measure(self, tensors: Tensors, surveyed: Any) -> tuple[float, float]:
        """The point lies in the span of the two: its coefficients, from their dot products over the whole tensor."""
        products = gram(tensors, with_base)
        if not len(products):
            return 1 - self.t, self.t
        first, second = arc(self.t, cosines(products)[0, 1], straight_above=self.dot_threshold)
        return first.item(), second.item()

    def merge(self, part: Part, measured: tuple[float, float]) -> Float[Tensor, "rows width"]:
        """One sum of the two."""
        return with_base(part).sum(measured)
