"""TIES: trim each change to its largest, elect a sign at each element, merge the changes that have it.

τᵢ = top(δᵢ, density), γ = sgn Σ τᵢ, θ = θ₀ + λ Σ wᵢ τᵢ [sgn τᵢ = γ] / Σ wᵢ [sgn τᵢ = γ]. Yadav et al. 2023,
https://arxiv.org/abs/2306.01708. The authors trim a model as a whole, keep all that is as large as the last, and give
an element that is undecided the sign which most elements have; mergekit and PEFT trim each tensor, to an exact number
(of equals the lowest index first, where theirs is any), and take plus.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from luthier.merging.methods import Each, Tensors
from luthier.merging.methods._consensus import elected, votes
from luthier.merging.methods._largest import Cut, largest, levels
from luthier.merging.methods._passes import over
from luthier.merging.methods._sparse import Elected, Everything, Nothing, Selection, Thinned


@dataclass(frozen=True)
class _Surveyed:
    """Of the whole model."""

    cuts: tuple[Selection, ...] = ()
    """What is left of each model, where it is trimmed as a whole."""
    majority: float = 1.0
    """The sign that most elements have."""


class Ties(Elected):
    """The largest changes, where the models agree."""

    surveys: ClassVar[bool] = True
    styles = {
        "mergekit": {"density": 1.0, "trim": "tensor", "sign": "weighted", "undecided": "plus"},
        "peft": {"trim": "tensor", "normalize": "count", "undecided": "plus"},
    }

    density: Each = (0.2,)
    """Share of each change that is left, from 0 to 1."""
    trim: Literal["model", "tensor"] = "model"
    """Among what the largest are sought: the whole model, or each tensor. With model, the density is that of the first
    tensor."""
    undecided: Literal["majority", "plus"] = "majority"
    """The sign of an element at which the changes cancel out: that of most elements of the model, or plus."""
    rescale: Literal["none", "l1"] = "none"
    """Scale what is left of a tensor so that its sum of magnitudes is what it was (l1), or leave it (none)."""

    def same_everywhere(self) -> tuple[Any, ...]:
        """Where a model is trimmed as a whole, its density too."""
        return self.trim, self.undecided, *((self.density, self.sign) if self.trim == "model" else ())

    def survey(self, model: Iterable[Tensors]) -> _Surveyed:
        """The models' levels by two passes, the majority by one more."""
        cuts = tuple(self._of_the_model(model)) if self.trim == "model" else ()
        return _Surveyed(cuts, self._majority(model, cuts) if self.undecided == "majority" else 1.0)

    def select(self, tensors: Tensors, surveyed: _Surveyed | None) -> Sequence[Selection]:
        """The model's cuts, or those of the tensor."""
        if self.trim == "model":
            assert surveyed is not None, "ties surveys the model first"
            return surveyed.cuts
        num = tensors.num_rows * tensors.width
        densities = self.for_models("density", len(tensors.labels))
        sought = [number for number, density in enumerate(densities) if 0 < density < 1 and num]
        nums = [[max(1, int(densities[number] * num))] for number in sought]
        cuts = largest(tensors, nums, of=lambda part: [part.deltas[number] for number in sought]) if sought else []
        found = dict(zip(sought, (cut for [cut] in cuts), strict=True))
        return [found.get(number) or _all_or_none(density) for number, density in enumerate(densities)]

    def mix(
        self, changes: Sequence[Float[Tensor, "rows width"]], weights: Each, surveyed: _Surveyed | None
    ) -> Float[Tensor, "rows width"]:
        """By the election of signs; the majority has what is undecided."""
        undecided = surveyed.majority if surveyed else 1.0
        return elected(changes, weights, sign=self.sign, normalize=self.normalize, undecided=undecided)

    def _of_the_model(self, model: Iterable[Tensors]) -> Iterator[Selection]:
        sizes = [(len(tensors.labels), tensors.num_rows * tensors.width) for tensors in model]
        densities = self.for_models("density", sizes[0][0])
        num = sum(size for _, size in sizes)
        # The authors keep what is not below the k-th smallest, k = num - int(density num): one more than int(...).
        nums = [[min(num, int(density * num) + 1)] for density in densities]

        def sweep(work: Callable[[Sequence[Tensor]], None]) -> None:
            def give(tensors: Tensors) -> None:
                for part in tensors:
                    work(part.deltas)

            over(model, give)

        for density, [level] in zip(densities, levels(sweep, nums), strict=True):
            yield Cut(level.bits) if 0 < density < 1 else _all_or_none(density)

    def _majority(self, model: Iterable[Tensors], cuts: tuple[Selection, ...]) -> float:
        found = list[int]()

        def count(tensors: Tensors) -> None:
            selections = tuple(self.select(tensors, _Surveyed(cuts)))
            thinned = Thinned(selections, (1.0,) * len(selections))
            weights = self.for_models("weight", len(selections))
            found.extend(votes(thinned.of(part), weights, sign=self.sign) for part in tensors)

        over(model, count)
        return 1.0 if sum(found) >= 0 else -1.0


def _all_or_none(density: float) -> Selection:
    return Everything() if density >= 1 else Nothing()
