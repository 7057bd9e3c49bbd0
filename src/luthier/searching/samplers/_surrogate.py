"""What a Gaussian process makes of the trials so far: what it expects, the best of it, and whether constraints hold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luthier.searching.samplers._acquisitions import Valued, log_pi
from luthier.searching.samplers._cube import Cube, Matrix
from luthier.searching.samplers._gaussian_process import Process, fitted
from luthier.searching.samplers._seen import Point
from luthier.trials.history import Values

Vector = NDArray[np.float64]
Acquisition = Callable[[Vector, Vector, float], Valued]
"""Of mean, deviation and the best so far; the value and its derivatives by mean and deviation."""

MOST_POINTS = 300
"""That a process is fitted to: the best half of them, and the latest."""
NUM_LEADERS = 3
"""Best settings around which a better one is looked for."""
MOST_WORSE = 3.0


@dataclass(frozen=True)
class Surrogate:
    """A process of the objective, and one of each constraint."""

    objective: Process
    best: float | None
    """What is expected of the best setting that keeps all constraints; None where none does."""
    leaders: Matrix
    """The best settings [few, axes]."""
    limits: tuple[tuple[Process, float], ...]
    """Of each constraint: its process, and the value up to which it holds."""

    @classmethod
    def of(cls, cube: Cube, points: Sequence[Point], pending: Sequence[Values]) -> "Surrogate":
        """Fitted to what was seen of a single objective; what runs counts as what is expected of it."""
        points = _most_telling(points)
        places = np.array([cube.space.units(point.values) for point in points])
        below = np.array([1 - point.place for point in points])
        scores = _standard(_squeezed(np.array([point.scores[0] for point in points])))
        objective = fitted(places, below, scores, cube.is_category)
        settings, first = np.unique(places, axis=0, return_index=True)
        expected = objective.expected(settings)[0]
        holds = _hold(places, points)[first]
        order = np.argsort(np.where(holds, expected, np.inf), kind="stable")
        running = np.array([cube.space.units(values) for values in pending]).reshape(-1, cube.num_axes)
        return cls(
            objective.believing(running),
            float(expected[order[0]]) if holds.any() else None,
            settings[order[:NUM_LEADERS]],
            tuple(_limit(places, [point.excess[each] for point in points], cube) for each in _constraints(points)),
        )

    def values(self, places: Matrix, acquisition: Acquisition) -> Vector:
        """The acquisition at places [m, axes], times the probability that the constraints hold; as logarithms."""
        found = np.zeros(len(places))
        if self.best is not None:
            found += acquisition(*self.objective.expected(places), self.best)[0]
        for process, most in self.limits:
            found += log_pi(*process.expected(places), most)[0]
        return found

    def slopes(self, place: Vector, acquisition: Acquisition) -> tuple[float, Vector]:
        """The same at one place, and its derivatives by the axes."""
        value, slope = 0.0, np.zeros(len(place))
        asked: list[tuple[Process, float, Acquisition]] = [(process, most, log_pi) for process, most in self.limits]
        if self.best is not None:
            asked.append((self.objective, self.best, acquisition))
        for process, most, by in asked:
            mean, deviation, mean_slope, deviation_slope = process.slopes(place)
            part, by_mean, by_deviation = by(np.array([mean]), np.array([deviation]), most)
            value += float(part[0])
            slope += by_mean[0] * mean_slope + by_deviation[0] * deviation_slope
        return value, slope


def _most_telling(points: Sequence[Point]) -> Sequence[Point]:
    """All, or of too many the best half and the latest of the rest."""
    if len(points) <= MOST_POINTS:
        return points
    order = sorted(range(len(points)), key=lambda each: points[each].scores[0])
    best, rest = order[: MOST_POINTS // 2], sorted(order[MOST_POINTS // 2 :])
    return [points[each] for each in sorted([*best, *rest[-(MOST_POINTS - len(best)) :]])]


def _squeezed(scores: Vector) -> Vector:
    """What is worse than the median, brought nearer, for a run that blew up should not blur the rest.

    x / (1 + x / 3), x the distance from the median in those of the best: small ones stay, none is above 3.
    """
    middle = np.median(scores)
    scale = max(middle - scores.min(), 1e-12)
    worse = np.maximum(0, scores - middle) / scale
    return np.where(worse > 0, middle + scale * worse / (1 + worse / MOST_WORSE), scores)


def _standard(scores: Vector) -> Vector:
    spread = scores.std()
    return np.asarray((scores - scores.mean()) / (spread if spread > 1e-12 else 1.0))


def _constraints(points: Sequence[Point]) -> range:
    return range(min(len(point.excess) for point in points))


def _hold(places: Matrix, points: Sequence[Point]) -> NDArray[np.bool_]:
    """Whether the constraints hold at each point's setting, at whatever rung it was judged."""
    broken = {place.tobytes() for place, point in zip(places, points, strict=True) if not point.is_feasible}
    return np.array([place.tobytes() not in broken for place in places])


def _limit(places: Matrix, excess: Sequence[float], cube: Cube) -> tuple[Process, float]:
    found = np.array(excess)
    spread = found.std() if found.std() > 1e-12 else 1.0
    process = fitted(places, np.zeros(len(places)), _standard(found), cube.is_category)
    return process, float(-found.mean() / spread)
