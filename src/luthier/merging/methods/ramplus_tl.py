"""RAM+, tensor by tensor: RAM in which a model that shares much of its change keeps more of what it alone changed.

ρᵢ = elements that i shares / elements that i alone changed, λᵢ = 1 + r clip(ρᵢ, 0, α); what only i changed counts λᵢ
times, what several changed is averaged over them. https://arxiv.org/abs/2601.13572 (2026), whose ρ is that of the whole
model; mergekit's and this one are of each tensor.
"""

from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from luthier.merging.methods import Merge, Part, Tensors
from luthier.merging.methods._changed import changes_of, counts_of, mean_of_changed


class RamplusTl(Merge):
    """The mean over those models that changed an element, more of it where only one did."""

    needs_base: ClassVar[Literal["yes", "may", "no"]] = "yes"
    styles = {"mergekit": {}}

    r: float = 0.1
    """By how much a change grows with the ratio of what it shares to what it alone changed."""
    alpha: float = 0.2
    """The greatest ratio that counts."""
    epsilon: float = 1e-5
    """A change up to this is none."""

    def measure(self, tensors: Tensors, surveyed: object) -> tuple[float, ...]:
        """The growth of each model's own changes."""
        shared, alone = [0] * len(tensors.labels), [0] * len(tensors.labels)
        for part in tensors:
            changes = changes_of(part, least=self.epsilon)
            counts = counts_of(changes)
            for model, change in enumerate(changes):
                shared[model] += int(((change != 0) & (counts > 1)).sum())
                alone[model] += int(((change != 0) & (counts == 1)).sum())
        ratios = (many / max(few, self.epsilon) for many, few in zip(shared, alone, strict=True))
        return tuple(1 + self.r * min(max(ratio, 0.0), self.alpha) for ratio in ratios)

    def merge(self, part: Part, measured: tuple[float, ...]) -> Float[Tensor, "rows width"]:
        """The base and the mean of changes."""
        assert part.base is not None
        return mean_of_changed(changes_of(part, least=self.epsilon), measured).add_(part.base)
