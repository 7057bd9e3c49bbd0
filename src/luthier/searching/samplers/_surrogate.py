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
LEAST_SCALE = 1e-3
"""Of the better half, in distances of the worse one; below, the worse one would seem to be all alike."""


@dataclass(frozen=True)
class Limit:
    """What is expected of a constraint at the highest rung."""

    process: Process
    most: float
    """Up to which it holds."""
    spread: float
    """Excess of one deviation."""

    def excess(self, places: Matrix) -> Vector:
        """By how much it is expected to be broken [m]; 0 or less: it holds."""
        return np.asarray((self.process.expected(places)[0] - self.most) * self.spread)


@dataclass(frozen=True)
class Surrogate:
    """A process of the objective, and one of each constraint."""

    objective: Process
    best: float | None
    """What is expected of the best setting that keeps all constraints; None where none does."""
    leaders: Matrix
    """The best settings [few, axes]."""
    limits: tuple["Limit", ...]
    """Of each constraint."""

    @classmethod
    def of(cls, cube: Cube, points: Sequence[Point], pending: Sequence[Values]) -> "Surrogate":
        """Fitted to what was seen of a single objective; what runs counts as what is expected of it."""
        points = _most_telling(points)
        places = np.array([cube.space.units(point.values) for point in points])
        below = np.array([1 - point.place for point in points])
        scores = _standard(_squeezed(np.array([point.scores[0] for point in points])))
        objective = fitted(places, below, scores, cube.is_category)
        settings = np.unique(places, axis=0)
        expected = objective.expected(settings)[0]
        limits = _limits(places, below, points, cube)
        holds, broken = _hold(settings, places, points, limits)
        order = np.lexsort((expected, broken, ~holds))  # where none holds, those that break them least
        running = np.array([cube.space.units(values) for values in pending]).reshape(-1, cube.num_axes)
        return cls(
            objective.believing(running),
            float(expected[order[0]]) if holds.any() else None,
            settings[order[:NUM_LEADERS]],
            limits,
        )

    def values(self, places: Matrix, acquisition: Acquisition) -> Vector:
        """The acquisition at places [m, axes], times the probability that the constraints hold; as logarithms."""
        found = np.zeros(len(places))
        if self.best is not None:
            found += acquisition(*self.objective.expected(places), self.best)[0]
        for limit in self.limits:
            found += log_pi(*limit.process.expected(places), limit.most)[0]
        return found

    def slopes(self, place: Vector, acquisition: Acquisition) -> tuple[float, Vector]:
        """The same at one place, and its derivatives by the axes."""
        value, slope = 0.0, np.zeros(len(place))
        asked: list[tuple[Process, float, Acquisition]] = [(limit.process, limit.most, log_pi) for limit in self.limits]
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

    x / (1 + x / 3), x the distance from the median in those of the best: small ones stay, none is above 3. Where half
    of all are as good as the best, in distances of the worse ones that are near (a quarter of them are nearer).
    """
    middle = np.median(scores)
    worse = np.maximum(0, scores - middle)
    if not worse.any():
        return scores
    scale, nearest = middle - scores.min(), np.quantile(worse[worse > 0], 0.25)
    if scale < LEAST_SCALE * nearest:
        scale = nearest
    worse = worse / scale
    return np.where(worse > 0, middle + scale * worse / (1 + worse / MOST_WORSE), scores)


def _standard(scores: Vector) -> Vector:
    spread = scores.std()
    return np.asarray((scores - scores.mean()) / (spread if spread > 1e-12 else 1.0))


def _limits(places: Matrix, below: Vector, points: Sequence[Point], cube: Cube) -> tuple[Limit, ...]:
    """A process of each constraint, from the points at which it was measured."""
    told = np.array([point.is_measured for point in points])
    if not told.any():
        return ()
    excess = np.array([point.excess for point in points if point.is_measured])
    return tuple(_limit(places[told], below[told], each, cube) for each in excess.T)


def _limit(places: Matrix, below: Vector, excess: Vector, cube: Cube) -> Limit:
    spread = excess.std() if excess.std() > 1e-12 else 1.0
    process = fitted(places, below, _standard(excess), cube.is_category)
    return Limit(process, float(-excess.mean() / spread), float(spread))


def _hold(
    settings: Matrix, places: Matrix, points: Sequence[Point], limits: Sequence[Limit]
) -> tuple[NDArray[np.bool_], Vector]:
    """Whether the constraints hold at each setting, and by how much they are broken in all.

    They were measured at the highest rung, or are expected to hold there; costs only grow, so what is broken at a lower
    rung does not.
    """
    measured = [(place.tobytes(), point) for place, point in zip(places, points, strict=True) if point.is_measured]
    is_broken = {key for key, point in measured if not point.is_feasible}
    is_known = {key for key, point in measured if point.place == 1.0} - is_broken
    expected = sum((np.maximum(limit.excess(settings), 0.0) for limit in limits), np.zeros(len(settings)))
    keys = [setting.tobytes() for setting in settings]
    known = np.array([key in is_known for key in keys])
    holds = known | ((expected <= 0) & np.array([key not in is_broken for key in keys]))
    return holds, np.where(holds, 0.0, expected)
