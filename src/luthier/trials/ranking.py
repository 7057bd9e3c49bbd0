"""Which trial is better at one place of their courses, with constraints and with several objectives.

Feasible before infeasible, and less broken before more (Deb 2000, https://doi.org/10.1016/S0045-7825(99)00389-8); then
one objective by its value, several by fronts that nothing dominates and within a front by crowding distance, the
loneliest first (Deb et al. 2002, NSGA-II, https://doi.org/10.1109/4235.996017). NaN is the worst; the rest by number.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from luthier.trials.history import Rung, Trial


def ranked(trials: Iterable[Trial], resource: int) -> list[Trial]:
    """All trials, the best at so many units first; those that were not judged there come last."""
    by_number = sorted(trials, key=lambda trial: trial.number)
    judged = [(trial, rung) for trial in by_number if (rung := trial.at(resource))]
    others = [trial for trial in by_number if trial.at(resource) is None]
    if _have_one_value([rung for _, rung in judged]):
        judged.sort(key=lambda each: by_value(each[1]))
        return [*(trial for trial, _ in judged), *others]
    groups: dict[float, list[tuple[Trial, Rung]]] = {}
    for trial, rung in judged:
        groups.setdefault(_broken(rung), []).append((trial, rung))
    return [*(trial for broken in sorted(groups) for trial in _by_fronts(groups[broken])), *others]


def by_value(rung: Rung) -> tuple[float, ...]:
    """A key that sorts by broken constraints and values; of a single objective, the best first."""
    return (_broken(rung), *_values(rung))


def nums_better(rungs: Sequence[Rung]) -> list[int]:
    """Of each rung how many before it in the sequence are better.

    That is: break the constraints less; or, equally much, have the lower value or dominate.
    """
    if not _have_one_value(rungs):
        return [int(num) for num in np.triu(_better(rungs)).sum(0)]
    found: list[int] = []
    before: list[tuple[float, ...]] = []
    for rung in rungs:
        place = bisect_left(before, by_value(rung))
        found.append(place)
        insort(before, by_value(rung))
    return found


def nums_surely_before(trials: Iterable[Trial], resource: int) -> dict[int, int]:
    """Of each trial that was judged at so many units how many others rank before it whatever further ones will show.

    By number. With several objectives those do that dominate it: crowding depends on who else is there.
    """
    judged = [(trial.number, rung) for trial in trials if (rung := trial.at(resource))]
    rungs = [rung for _, rung in judged]
    if not _have_one_value(rungs):
        return {number: int(num) for (number, _), num in zip(judged, _better(rungs).sum(0), strict=True)}
    order = sorted(judged, key=lambda each: (by_value(each[1]), each[0]))
    return {number: place for place, (number, _) in enumerate(order)}


def pareto_front(trials: Iterable[Trial], resource: int) -> list[Trial]:
    """The feasible trials that no other one dominates at so many units, by number; equal ones are all in it.

    A trial without a number in each objective is not.
    """
    judged = [(trial, trial.at(resource)) for trial in sorted(trials, key=lambda trial: trial.number)]
    fit = [
        (trial, rung)
        for trial, rung in judged
        if rung is not None and rung.is_feasible and not any(math.isnan(value) for value in rung.values)
    ]
    num_ahead = _better([rung for _, rung in fit]).sum(0)
    return [trial for (trial, _), num in zip(fit, num_ahead, strict=True) if not num]


def _broken(rung: Rung) -> float:
    """By how much the constraints are broken in all; 0 where they hold."""
    if not rung.excess:
        return 0.0
    return math.fsum(math.inf if math.isnan(each) else max(0.0, each) for each in rung.excess)


def _values(rung: Rung) -> tuple[float, ...]:
    return tuple(math.inf if math.isnan(value) else value for value in rung.values)


def _have_one_value(rungs: Iterable[Rung]) -> bool:
    return all(len(rung.values) == 1 for rung in rungs)


def _better(rungs: Sequence[Rung]) -> NDArray[np.bool_]:
    """Whether one [row] breaks less than another [column]; or, equally much, is nowhere worse and somewhere better."""
    if not rungs:
        return np.zeros((0, 0), dtype=bool)
    broken = np.array([_broken(rung) for rung in rungs])
    nowhere_worse = broken[:, None] == broken
    once_better = np.zeros_like(nowhere_worse)
    for values in np.array([_values(rung) for rung in rungs]).T:
        nowhere_worse &= values[:, None] <= values
        once_better |= values[:, None] < values
    return np.asarray((broken[:, None] < broken) | (nowhere_worse & once_better))


def _by_fronts(judged: Sequence[tuple[Trial, Rung]]) -> list[Trial]:
    """Trials that break the constraints equally much, by number; the best first."""
    found: list[Trial] = []
    rungs = [rung for _, rung in judged]
    is_better = _better(rungs)
    num_ahead = is_better.sum(0)
    rest = np.arange(len(judged))
    while len(rest):
        front, rest = rest[num_ahead[rest] == 0], rest[num_ahead[rest] > 0]
        num_ahead = num_ahead - is_better[front].sum(0)
        room = _crowding([_values(rungs[place]) for place in front])
        found += [judged[front[place]][0] for place in sorted(range(len(front)), key=lambda place: -room[place])]
    return found


def _crowding(points: Sequence[Sequence[float]]) -> list[float]:
    """How far each point's neighbours lie apart: a sum over objectives, each by its range; infinite at the ends."""
    room = [0.0] * len(points)
    for axis in range(len(points[0])):
        order = sorted(range(len(points)), key=lambda place: points[place][axis])
        least, most = points[order[0]][axis], points[order[-1]][axis]
        room[order[0]] = room[order[-1]] = math.inf
        if not 0 < most - least < math.inf:
            continue
        for before, place, after in zip(order, order[1:], order[2:], strict=False):
            room[place] += (points[after][axis] - points[before][axis]) / (most - least)
    return room
