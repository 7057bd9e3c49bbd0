"""SCE: select where the models differ most, weigh each tensor by the size of its change, erase minority signs.

σ² = Var(δ₁, δ₂, ...), τᵢ = δᵢ where σ² is among its largest, ηᵢ = Σ τᵢ² / Σⱼ Σ τⱼ², γ = sgn Σ τᵢ,
θ = θ₀ + Σ ηᵢ τᵢ [sgn τᵢ = γ] / Σ ηᵢ [sgn τᵢ = γ]. FuseChat, Wan et al. 2024, https://arxiv.org/abs/2408.07990.
"""

from dataclasses import dataclass
from math import fsum
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from luthier.merging.methods import Merge, Part, Tensors
from luthier.merging.methods._consensus import elected
from luthier.merging.methods._largest import Cut, largest


@dataclass(frozen=True)
class _Selected:
    """Of a tensor: which elements, by their variance, and the weight of each model."""

    cut: Cut | None
    """None where all are selected."""
    weights: tuple[float, ...] = ()
    """None of them where nothing is selected."""

    def of(self, part: Part) -> tuple[Float[Tensor, "rows width"], ...]:
        """The selected elements of each change; not to be written to."""
        if self.cut is None:
            return part.deltas
        outside = self.cut.of(_variance(part), part.start) == 0
        return tuple(delta.masked_fill(outside, 0.0) for delta in part.deltas)


class Sce(Merge):
    """Where the models differ most, by the size of their changes."""

    needs_base: ClassVar[Literal["yes", "may", "no"]] = "yes"
    styles = {"mergekit": {"select_topk": 1.0, "floor": 1e-6}}

    select_topk: float = 0.1
    """Share of the elements with any variance that is selected, from 0 to 1; of equals the lowest index comes first."""
    floor: float = 0.0
    """Sum of the mean squares up to which the models weigh the same: mergekit's 1e-6 is that of many a whole change."""

    def measure(self, tensors: Tensors, surveyed: object) -> _Selected:
        """The least variance that is selected, and the weights."""
        cut = None
        if self.select_topk < 1:
            num = int(self.select_topk * sum(int(torch.count_nonzero(_variance(part))) for part in tensors))
            if num <= 0:
                return _Selected(None)
            [[cut]] = largest(tensors, [[num]], of=lambda part: [_variance(part)])
        squares = [list[float]() for _ in tensors.labels]
        for part in tensors:
            for rows, change in zip(squares, _Selected(cut).of(part), strict=True):
                rows += change.double().square_().sum(dim=1).tolist()
        means = [fsum(rows) / max(1, tensors.num_rows * tensors.width) for rows in squares]
        total = fsum(means)
        alike = total == 0 or total < self.floor
        return _Selected(cut, tuple(1 / len(means) if alike else mean / total for mean in means))

    def merge(self, part: Part, measured: _Selected) -> Float[Tensor, "rows width"]:
        """The base and the selected changes that have the elected sign."""
        assert part.base is not None
        if not measured.weights:
            return part.base.clone()
        return elected(measured.of(part), measured.weights, sign="sum", normalize="weights").add_(part.base)


def _variance(part: Part) -> Float[Tensor, "rows width"]:
    """Over the models, of what each of them changed."""
    mean = torch.zeros_like(part.deltas[0])
    for delta in part.deltas:
        mean.add_(delta, alpha=1 / len(part.deltas))
    variance = torch.zeros_like(mean)
    for delta in part.deltas:
        away = delta - mean
        variance.addcmul_(away, away, value=1 / len(part.deltas))
    return variance
