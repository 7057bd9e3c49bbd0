"""Which trial is better at one place of their courses, with constraints and with several objectives.

Feasible before infeasible, and less broken before more (Deb 2000, https://doi.org/10.1016/S0045-7825(99)00389-8); then
one objective by its value, several by fronts that nothing dominates and within a front by crowding distance, the
loneliest first (Deb et al. 2002, NSGA-II, https://doi.org/10.1109/4235.996017). NaN is the worst; the rest by number.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from luthier.trials.history import Rung, Trial


def ranked(trials: Iterable[Trial], resource: int) -> list[Trial]:
    """All trials, the best at so many units first; those that were not judged there come last."""
    by_number = sorted(trials, key=lambda trial: trial.number)
    judged = [(trial, rung) for trial in by_number if (rung := trial.at(resource))]
    others = [trial for trial in by_number if trial.at(resource) is None]
    if all(len(rung.values) == 1 for _, rung in judged):
        judged.sort(key=lambda each: by_value(each[1]))
        return [*(trial for trial, _ in judged), *others]
    groups: dict[float, list[tuple[Trial, Rung]]] = {}
    for trial, rung in judged:
        groups.setdefault(_broken(rung), []).append((trial, rung))
    return [*(trial for broken in sorted(groups) for trial in _by_fronts(groups[broken])), *others]


def is_better(one: Rung, other: Rung) -> bool:
    """Whether one breaks the constraints less; or, equally much, has the lower value or dominates."""
    if _broken(one) != _broken(other):
        return _broken(one) < _broken(other)
    return _dominates(_values(one), _values(other))


def num_better(rung: Rung, others: Sequence[Rung]) -> int:
    """How many of the others are better; they are sorted by `by_value`."""
    if len(rung.values) == 1:
        return bisect_left(others, by_value(rung), key=by_value)
    return sum(is_better(other, rung) for other in others)


def by_value(rung: Rung) -> tuple[float, ...]:
    """A key that sorts by broken constraints and values; of a single objective, the best first."""
    return (_broken(rung), *_values(rung))


def is_surely_before(one: Trial, other: Trial, resource: int) -> bool:
    """Whether one ranks before the other at so many units whatever other trials will show; False: that is open.

    With several objectives that is so where it dominates the other: crowding depends on who else is there.
    """
    rung, theirs = one.at(resource), other.at(resource)
    if rung is None or theirs is None:
        return rung is not None
    is_tie = len(rung.values) == 1 and by_value(rung) == by_value(theirs)
    return one.number < other.number if is_tie else is_better(rung, theirs)


def pareto_front(trials: Iterable[Trial], resource: int) -> list[Trial]:
    """The feasible trials that no other one dominates at so many units, by number; equal ones are all in it.

    A trial without a number in each objective is not.
    """
    judged = [(trial, trial.at(resource)) for trial in sorted(trials, key=lambda trial: trial.number)]
    fit = [
        (trial, rung.values)
        for trial, rung in judged
        if rung is not None and rung.is_feasible and not any(math.isnan(value) for value in rung.values)
    ]
    return [trial for trial, values in fit if not any(_dominates(others, values) for _, others in fit)]


def _broken(rung: Rung) -> float:
    """By how much the constraints are broken in all; 0 where they hold."""
    if not rung.excess:
        return 0.0
    return math.fsum(math.inf if math.isnan(each) else max(0.0, each) for each in rung.excess)


def _values(rung: Rung) -> tuple[float, ...]:
    return tuple(math.inf if math.isnan(value) else value for value in rung.values)


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether one is nowhere worse and somewhere better."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and any(a < b for a, b in zip(one, other, strict=True))


def _by_fronts(judged: Sequence[tuple[Trial, Rung]]) -> list[Trial]:
    """Trials that break the constraints equally much, by number; the best first."""
    found: list[Trial] = []
    rest = [(trial, _values(rung)) for trial, rung in judged]
    while rest:
        is_in_front = [not any(_dominates(theirs, point) for _, theirs in rest) for _, point in rest]
        front = [each for each, is_in in zip(rest, is_in_front, strict=True) if is_in]
        rest = [each for each, is_in in zip(rest, is_in_front, strict=True) if not is_in]
        room = _crowding([point for _, point in front])
        found += [front[place][0] for place in sorted(range(len(front)), key=lambda place: -room[place])]
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
