"""Who says which point to try next: chance first, then CMA-ES from the best point on.

CMA-ES draws from a normal distribution, whose mean and covariance it learns of the better half of each generation.
Hansen and Ostermeier 2001, https://doi.org/10.1162/106365601750190398; by the library cma.
"""

import math
import warnings
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from luthier.extras import need
from luthier.merging.searching.space import Point

FIRST_WIDTH = 0.2
"""Standard deviation of the first generation: most of the cube stays within reach."""


class Sampler(ABC):
    """Points of a unit cube, one after the other; a larger score is better.

    What it says depends on its settings and on what it was told alone, so that a search that was stopped goes on by
    asking and telling again what its log has.
    """

    @abstractmethod
    def ask(self) -> Point:
        """The next point."""

    @abstractmethod
    def tell(self, point: Point, score: float) -> None:
        """What came of the point that was asked for last, or of one that it was not asked for, before it is asked."""


class ChanceThenCma(Sampler):
    """Random points, then generations of CMA-ES; in a single dimension chance alone."""

    def __init__(self, num_dimensions: int, *, num_random: int, seed: int) -> None:
        """Raises MissingExtra where the library is not installed."""
        self._cma = _library() if num_dimensions > 1 else None
        self.num_dimensions = num_dimensions
        self._random = np.random.default_rng(seed)
        self._waiting = [self._draw() for _ in range(num_random)]
        self._generation: list[tuple[Point, float]] | None = None
        self._strategy: Any = None
        self._best: tuple[float, Point] | None = None
        self._size = 0

    def ask(self) -> Point:
        """What waits, or a new generation's first."""
        if not self._waiting:
            self._waiting = [self._draw()] if self._cma is None else self._next_generation()
        return self._waiting.pop(0)

    def tell(self, point: Point, score: float) -> None:
        """Kept until its generation is whole."""
        if self._best is None or score > self._best[0]:  # of equals the first
            self._best = (score, point)
        if self._generation is None:
            return
        self._generation.append((point, score))
        if len(self._generation) == self._size:
            points, scores = zip(*self._generation, strict=True)
            self._strategy.tell([np.array(each) for each in points], [-each for each in scores])
            self._generation = []

    def _next_generation(self) -> list[Point]:
        if self._strategy is None or self._strategy.stop():
            assert self._cma is not None and self._best is not None, (
                "the first points are told before a generation is asked for"
            )
            # Its own chance is numpy's for everybody, which a merge or an evaluation may draw from in between.
            said = {"bounds": [0, 1], "seed": math.nan, "randn": self._normal, "verbose": -9}
            self._strategy = self._cma.CMAEvolutionStrategy(list(self._best[1]), FIRST_WIDTH, said)
            self._generation = []
        points = [tuple(np.clip(each, 0, 1).tolist()) for each in self._strategy.ask()]
        self._size = len(points)
        return points

    def _normal(self, *shape: Any) -> Float[ndarray, "..."]:
        """As the library asks for it: by a tuple, or by numbers."""
        return self._random.standard_normal(shape[0] if isinstance(shape[0], tuple) else shape)

    def _draw(self) -> Point:
        return tuple(float(value) for value in self._random.random(self.num_dimensions))


def _library() -> Any:
    """cma, which warns where it cannot draw; nobody asks it to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return need("cma", extra="merge", needed_for="luthier merge search")
