"""Evolution for several objectives: children of the trials on the best fronts.

NSGA-II (Deb et al. 2002, https://doi.org/10.1109/4235.996017): better is who is on a better front, and within it who
has more room around. Steady: the parents are the best of all trials so far, not those of a generation (Durillo et al.
2009), so that each child counts at once. Two tournaments choose the parents; their values are crossed one by one,
numbers by simulated binary crossover (Deb and Agrawal 1995), and a few mutate: numbers of few levels to the next level
or to any other, for a small step would not leave theirs.
"""

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from luthier.searching.samplers import Sampler
from luthier.searching.samplers._cube import Cube
from luthier.searching.samplers._draws import evenly
from luthier.searching.samplers._seen import Point, seen
from luthier.searching.samplers._untried import MOST_DRAWS, first_untried
from luthier.trials.history import History, Rung, Trial, Values
from luthier.trials.ranking import ranked
from luthier.trials.space import Space

Vector = NDArray[np.float64]


class Nsga2(Sampler):
    """Children of the best trials, by fronts and by room."""

    learns: ClassVar[bool] = True

    population: Annotated[int, Field(ge=2)] = 10
    """Parents; before there are as many trials, these fill the space evenly."""
    crossing: Annotated[float, Field(gt=0)] = 15.0
    """How near children stay to their two parents: the distribution index of crossover."""
    mutating: Annotated[float, Field(gt=0)] = 20.0
    """How near they stay to where crossover put them: the distribution index of mutation."""

    def suggest(self, space: Space, history: History, *, seed: int) -> Values | None:
        points = seen(space, history, "last").points
        if len(points) < self.population:
            return evenly(space, history, seed=seed)
        random, cube = np.random.default_rng(seed), Cube(space)
        parents = [np.array(space.units(point.values)) for point in best(points)[: self.population]]
        children = (self._child(parents, cube, random) for _ in range(MOST_DRAWS))
        return first_untried(space, history, (space.values(child.tolist()) for child in children), seed=seed)

    def _child(self, parents: list[Vector], cube: Cube, random: np.random.Generator) -> Vector:
        """Of the better of two parents, and of the better of two others."""
        num = len(parents)
        one, other = (parents[min(random.choice(num, size=2, replace=False))] for _ in range(2))
        child = np.where(cube.is_category, one, _crossed(one, other, self.crossing, random))
        child = np.where(random.random(len(one)) < 0.5, child, one)
        child = np.where(cube.is_category & (random.random(len(one)) < 0.5), other, child)
        mutates = random.random(len(one)) < 1 / len(one)
        moved = np.where(cube.is_category, random.random(len(one)), _mutated(child, self.mutating, random))
        moved = np.where(cube.has_few_levels, _on_another_level(child, cube.num_levels, random), moved)
        return np.clip(np.where(mutates, moved, child), 0, 1)


def best(points: tuple[Point, ...]) -> list[Point]:
    """All points, the best first."""
    trials = [
        Trial(number, point.values, "done", 1, rungs=(Rung(1, point.scores, 0.0, point.excess),))
        for number, point in enumerate(points)
    ]
    return [points[trial.number] for trial in ranked(trials, 1)]


def _crossed(one: Vector, other: Vector, index: float, random: np.random.Generator) -> Vector:
    """One of the two children of simulated binary crossover, by chance."""
    drawn = random.random(len(one))
    spread = np.where(drawn < 0.5, 2 * drawn, 1 / (2 * (1 - drawn))) ** (1 / (index + 1))
    side = np.where(random.random(len(one)) < 0.5, 1, -1)
    found: Vector = 0.5 * (one + other) + side * 0.5 * spread * (one - other)
    return found


def _mutated(child: Vector, index: float, random: np.random.Generator) -> Vector:
    """Polynomial mutation."""
    drawn = random.random(len(child))
    below, above = (2 * drawn) ** (1 / (index + 1)) - 1, 1 - (2 * (1 - drawn)) ** (1 / (index + 1))
    found: Vector = child + np.where(drawn < 0.5, below, above)
    return found


def _on_another_level(child: Vector, num_levels: Vector, random: np.random.Generator) -> Vector:
    """In the middle of the next level up or down, or, as often, of any other; axes without levels anyhow."""
    num = np.maximum(num_levels, 2)
    level = np.clip(np.floor(child * num), 0, num - 1)
    step = np.where(random.random(len(child)) < 0.5, 1, -1)
    step = np.where((level + step < 0) | (level + step >= num), -step, step)
    any_other = (level + 1 + np.floor(random.random(len(child)) * (num - 1))) % num
    found: Vector = (np.where(random.random(len(child)) < 0.5, level + step, any_other) + 0.5) / num
    return found
