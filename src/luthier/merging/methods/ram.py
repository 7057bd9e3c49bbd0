"""RAM, reinforced agent merging: what one model changed is kept, what several changed is averaged over them.

Cᵢ = {e : |δᵢ| > ε}, θ = θ₀ + Σ δᵢ [Cᵢ] / max(1, Σ [Cᵢ]). Made for models trained by reinforcement, whose changes are
sparse. https://arxiv.org/abs/2601.13572 (2026).
"""

from typing import Any, ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from luthier.merging.methods import Merge, Part
from luthier.merging.methods._changed import changes_of, mean_of_changed


class Ram(Merge):
    """The mean over those models that changed an element."""

    needs_base: ClassVar[Literal["yes", "may", "no"]] = "yes"
    styles = {"mergekit": {}}

    epsilon: float = 1e-5
    """A change up to this is none."""

    def merge(self, part: Part, measured: Any) -> Float[Tensor, "rows width"]:
        """The base and the mean of changes."""
        assert part.base is not None
        return mean_of_changed(changes_of(part, least=self.epsilon)).add_(part.base)
