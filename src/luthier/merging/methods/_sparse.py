"""Merges that thin out each model's change before the changes are added: θ₀ + λ mix(τ₁, τ₂, ...), τᵢ a part of δᵢ.

Kinds differ in what they leave (`select`) and in how the rest is mixed: summed, or by an election of signs.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from jaxtyping import Float
from pydantic import model_validator
from torch import Tensor

from luthier.merging.methods import Each, Merge, Part, Tensors
from luthier.merging.methods._blocks import blocks
from luthier.merging.methods._combine import combined, total_of
from luthier.merging.methods._consensus import Normalize, Sign, elected

_LEAST_NORM = 1e-7
"""Below it a change is nothing that could be scaled."""


class Selection(Protocol):
    """What is left of one model's change."""

    def of(self, values: Float[Tensor, "rows width"], start: int) -> Float[Tensor, "rows width"]:
        """Of a part that begins at the element `start`; parts come in order, and a start of 0 begins anew."""


class Everything:
    """The change as it is."""

    def of(self, values: Float[Tensor, "rows width"], start: int) -> Float[Tensor, "rows width"]:
        return values


class Nothing:
    """No change."""

    def of(self, values: Float[Tensor, "rows width"], start: int) -> Float[Tensor, "rows width"]:
        return values.new_zeros(values.shape)


@dataclass(frozen=True)
class Thinned:
    """What is known of a tensor before its parts are merged."""

    selections: tuple[Selection, ...]
    factors: tuple[float, ...]
    """By which what is left of each model's change is multiplied."""
    changes: tuple[Tensor, ...] = ()
    """What is left, where the tensor came at once."""

    def of(self, part: Part) -> tuple[Float[Tensor, "rows width"], ...]:
        """What is left of each model's change; not to be written to."""
        if self.changes:
            return self.changes
        kept = (selection.of(delta, part.start) for selection, delta in zip(self.selections, part.deltas, strict=True))
        return tuple(_times(change, factor) for change, factor in zip(kept, self.factors, strict=True))


class Sparse(Merge, ABC):
    """The fields that all of them have, and the line they share."""

    needs_base: ClassVar[Literal["yes", "may", "no"]] = "yes"

    weight: Each = (1.0,)
    """Of each model's change."""
    scale: float = 1.0
    """λ: the mixed change is multiplied by it before it is added to the base."""
    if TYPE_CHECKING:  # a field of each kind, with its own words: one here would stand before theirs
        rescale: str

    @model_validator(mode="before")
    @classmethod
    def _yes_and_no(cls, value: object) -> object:
        """mergekit's switches are words here."""
        if not isinstance(value, Mapping):
            return value
        usual = cls.model_fields["rescale"].default
        rescaled = "l1" if value.get("style") == "mergekit" or usual == "none" else usual
        on = {"normalize": "weights", "rescale": rescaled}
        said = {name: on[name] if value[name] else "none" for name in on if isinstance(value.get(name), bool)}
        return {**value, **said}

    @abstractmethod
    def select(self, tensors: Tensors, surveyed: Any) -> Sequence[Selection]:
        """What is left of each model's change to a tensor."""

    @abstractmethod
    def mix(
        self, changes: Sequence[Float[Tensor, "rows width"]], weights: Each, surveyed: Any
    ) -> Float[Tensor, "rows width"]:
        """One change of many, in a tensor of its own."""

    def measure(self, tensors: Tensors, surveyed: Any) -> tuple[Thinned, Any]:
        """What is left, and by which factor it grows so that its sum of magnitudes is what it was."""
        selections = tuple(self.select(tensors, surveyed))
        if self.rescale != "l1":
            return Thinned(selections, (1.0,) * len(selections)), surveyed
        sums: list[tuple[list[float], list[float]]] = [([], []) for _ in selections]
        changes = list[Tensor]()
        for part in tensors:
            for selection, delta, (before, after) in zip(selections, part.deltas, sums, strict=True):
                kept = selection.of(delta, part.start)
                before += _sums(delta)
                after += _sums(kept)
                if tensors.is_one_part:
                    changes.append(kept)
        factors = tuple(_factor(fsum(before), fsum(after)) for before, after in sums)
        for change, factor in zip(changes, factors, strict=bool(changes)):
            if factor != 1:  # where all is left, the change may not be written to
                change.mul_(factor)
        return Thinned(selections, factors, tuple(changes)), surveyed

    def merge(self, part: Part, measured: tuple[Thinned, Any]) -> Float[Tensor, "rows width"]:
        """The base and the mixed change."""
        thinned, surveyed = measured
        assert part.base is not None
        mixed = self.mix(thinned.of(part), self.for_models("weight", len(part.models)), surveyed)
        return mixed.mul_(self.scale).add_(part.base) if self.scale != 1 else mixed.add_(part.base)


class Summed(Sparse, ABC):
    """What is left is added up."""

    normalize: Normalize = "none"
    """Divide the sum by the sum of the weights, by their count, or by nothing (none)."""

    def mix(
        self, changes: Sequence[Float[Tensor, "rows width"]], weights: Each, surveyed: Any
    ) -> Float[Tensor, "rows width"]:
        """Σ w τ, divided where it is normalised."""
        total = combined(changes, weights)
        if self.normalize == "none":
            return total
        if self.normalize == "count":
            return total.div_(len(weights))
        return total.div_(total_of(weights, kind=self.kind(), instead="say normalize: none for their sum"))


class Elected(Sparse, ABC):
    """What is left is merged where it has the elected sign."""

    normalize: Normalize = "weights"
    """Divide by the weights that agree at an element, by their count, or by nothing (none)."""
    sign: Sign = "sum"
    """What decides the sign of an element: the sum of the changes, of the changes times the weights, or of their signs
    (count)."""

    def mix(
        self, changes: Sequence[Float[Tensor, "rows width"]], weights: Each, surveyed: Any
    ) -> Float[Tensor, "rows width"]:
        """By the election of signs."""
        return elected(changes, weights, sign=self.sign, normalize=self.normalize)


def _times(values: Tensor, factor: float) -> Tensor:
    return values if factor == 1 else values * factor


def _sums(values: Float[Tensor, "rows width"]) -> list[float]:
    """Of each row's magnitudes: alike whatever part the row comes in."""
    found = list[float]()
    for rows in blocks(len(values), width=values.shape[1]):
        found += np.abs(values[rows].numpy()).sum(axis=1).tolist()
    return found


def _factor(before: float, after: float) -> float:
    return before / after if before >= _LEAST_NORM and after >= _LEAST_NORM else 1.0
