"""A space as axes of the unit cube, many points at once: which are categories, and where a point really lies."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from luthier.trials.domains import Choice
from luthier.trials.space import Space

Matrix = NDArray[np.float64]

FEW_LEVELS = 20
"""Up to which a small step along an axis often ends where it began."""


@dataclass(frozen=True)
class Cube:
    """The unit cube of a space, with an axis for each parameter."""

    space: Space

    @property
    def num_axes(self) -> int:
        return len(self.space.parameters)

    @cached_property
    def is_category(self) -> NDArray[np.bool_]:
        """By axis: options without an order, alike or not alike."""
        domains = [parameter.domain for parameter in self.space.parameters]
        return np.array([isinstance(domain, Choice) and not domain.is_ordered for domain in domains])

    @cached_property
    def num_levels(self) -> NDArray[np.float64]:
        """By axis: how many levels it has; 0 for a range of real numbers."""
        return np.array([parameter.domain.num_levels or 0 for parameter in self.space.parameters], dtype=float)

    @cached_property
    def has_few_levels(self) -> NDArray[np.bool_]:
        """By axis: numbers, of which there are few."""
        return np.asarray((self.num_levels > 1) & (self.num_levels <= FEW_LEVELS) & ~self.is_category)

    def snapped(self, points: Matrix) -> Matrix:
        """Points [m, axes] at the middle of the level they fall into; what does not apply, in the middle."""
        found = points.copy()
        axis_of = {parameter.name: axis for axis, parameter in enumerate(self.space.parameters)}
        for axis, parameter in enumerate(self.space.parameters):
            if num := parameter.domain.num_levels:
                found[:, axis] = (np.clip(np.floor(found[:, axis] * num), 0, num - 1) + 0.5) / num
            for name, label in parameter.under:
                wanted = self.space.by_name[name].domain.unit(label)
                found[np.abs(found[:, axis_of[name]] - wanted) > 1e-9, axis] = 0.5
        return found

    def bounds(self, place: NDArray[np.float64]) -> list[tuple[float, float]]:
        """How far each axis of a place may be moved: numbers that apply anywhere, categories and the rest nowhere."""
        values = self.space.values(place.tolist())
        moves = [
            parameter.name in values and not is_category
            for parameter, is_category in zip(self.space.parameters, self.is_category, strict=True)
        ]
        return [(0.0, 1.0) if free else (float(at), float(at)) for free, at in zip(moves, place, strict=True)]
