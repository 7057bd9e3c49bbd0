"""Breadcrumbs: leave out a change's smallest and its very largest. Davari & Belilovsky 2023, https://arxiv.org/abs/2312.06795."""

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from luthier.merging.methods import Each, Tensors
from luthier.merging.methods._largest import Cut, largest
from luthier.merging.methods._sparse import Everything, Nothing, Selection, Sparse


@dataclass(frozen=True)
class _Band:
    """The largest of a tensor, but for the very largest."""

    outer: Cut | None
    """None where it holds all."""
    inner: Cut | None

    def of(self, values: Float[Tensor, "rows width"], start: int) -> Float[Tensor, "rows width"]:
        kept = self.outer.of(values, start) if self.outer else values
        return kept - self.inner.of(values, start) if self.inner else kept


class Crumbs(Sparse, ABC):
    """What its kinds share."""

    density: Each = (0.14,)
    """Share of each tensor's change that is left, from 0 to 1; with 1 nothing is left out."""
    gamma: Each = (0.01,)
    """Share that is left out as too large, from 0 to 1; where both do not fit, the density does."""
    rescale: Literal["none", "l1"] = "none"
    """Scale what is left of a tensor so that its sum of magnitudes is what it was (l1), or leave it (none)."""

    def select(self, tensors: Tensors, surveyed: Any) -> Sequence[Selection]:
        """The two ends of each model's band."""
        num = tensors.num_rows * tensors.width
        densities = self.for_models("density", len(tensors.labels))
        gammas = self.for_models("gamma", len(tensors.labels))
        bands = [_ends(num, density, gamma) for density, gamma in zip(densities, gammas, strict=True)]
        # What is cut after none or after all needs no cut.
        nums = [[end for end in band if 0 < end < num] for band in bands]
        sought = [
            model for model, band in enumerate(bands) if nums[model] and band[0] < band[1] and densities[model] < 1
        ]
        wanted = [nums[model] for model in sought]
        found = largest(tensors, wanted, of=lambda part: [part.deltas[i] for i in sought]) if sought else []
        cuts = {model: dict(zip(nums[model], of_it, strict=True)) for model, of_it in zip(sought, found, strict=True)}
        return [
            _selection(density, band, cuts.get(model, {}))
            for model, (density, band) in enumerate(zip(densities, bands, strict=True))
        ]


def _ends(num: int, density: float, gamma: float) -> tuple[int, int]:
    """Counted from the largest: before the first that is kept, and after the last."""
    kept = int(density * num)
    last = min(num, int(gamma * num) + kept)
    return last - kept, last


def _selection(density: float, band: tuple[int, int], cuts: dict[int, Cut]) -> Selection:
    begin, end = band
    if density >= 1:
        return Everything()
    return _Band(cuts.get(end), cuts.get(begin)) if begin < end else Nothing()
