"""Which trial is better at one place of their courses, with constraints and with several objectives.

Feasible before infeasible, and less broken before more (Deb 2000, https://doi.org/10.1016/S0045-7825(99)00389-8); then
one objective by its value, several by fronts that nothing dominates and within a front by crowding distance, the
loneliest first (Deb et al. 2002, NSGA-II, https://doi.org/10.1109/4235.996017). NaN is the worst; the rest by number.
"""

import math
from collections.abc import Iterable, Sequence

from luthier.trials.history import Rung, Trial


def ranked(trials: Iterable[Trial], resource: int) -> list[Trial]:
    """All trials, the best at so many units first; those that were not judged there come last."""
    by_number = sorted(trials, key=lambda trial: trial.number)
    others = [trial for trial in by_number if trial.at(resource) is None]
    groups: dict[float, list[Trial]] = {}
    for trial in by_number:
        if rung := trial.at(resource):
            groups.setdefault(_broken(rung), []).append(trial)
    order = [trial for broken in sorted(groups) for trial in _by_objectives(groups[broken], resource)]
    return [*order, *others]


def is_surely_before(one: Trial, other: Trial, resource: int) -> bool:
    """Whether one ranks before the other at so many units whatever other trials will show; False: that is open.

    With several objectives that is so where it dominates the other: crowding depends on who else is there.
    """
    rung, theirs = one.at(resource), other.at(resource)
    if rung is None or theirs is None:
        return rung is not None
    if _broken(rung) != _broken(theirs):
        return _broken(rung) < _broken(theirs)
    values, their_values = _values(rung), _values(theirs)
    if len(values) == 1:
        return (values[0], one.number) < (their_values[0], other.number)
    return _dominates(values, their_values)


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


def _rung(trial: Trial, resource: int) -> Rung:
    rung = trial.at(resource)
    assert rung is not None
    return rung


def _broken(rung: Rung) -> float:
    """By how much the constraints are broken in all; 0 where they hold."""
    return math.fsum(math.inf if math.isnan(each) else max(0.0, each) for each in rung.excess)


def _values(rung: Rung) -> tuple[float, ...]:
    return tuple(math.inf if math.isnan(value) else value for value in rung.values)


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether one is nowhere worse and somewhere better."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and any(a < b for a, b in zip(one, other, strict=True))


def _by_objectives(trials: Sequence[Trial], resource: int) -> list[Trial]:
    """Trials that break the constraints equally much, the best first."""
    points = {trial.number: _values(_rung(trial, resource)) for trial in trials}
    if all(len(point) == 1 for point in points.values()):
        return sorted(trials, key=lambda trial: (points[trial.number], trial.number))
    found: list[Trial] = []
    rest = list(trials)
    while rest:
        front = [a for a in rest if not any(_dominates(points[b.number], points[a.number]) for b in rest)]
        in_front = {trial.number for trial in front}
        room = _crowding([points[trial.number] for trial in front])
        places = sorted(range(len(front)), key=lambda place: (-room[place], front[place].number))
        found += [front[place] for place in places]
        rest = [trial for trial in rest if trial.number not in in_front]
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
