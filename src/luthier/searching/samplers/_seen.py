"""What a model learns from: of trials that were judged at different rungs, which values count, and how they compare.

`last`: every trial at its last rung, as Syne Tune (Klein et al. 2020, https://arxiv.org/abs/2003.10865) does. Values
fall over a run, and seconds grow, so they are brought to the level of the highest rung: by the median step from rung to
rung among the trials that were judged at both.
`highest`: the highest rung that d + 3 trials came to, of d parameters, and these alone, as BOHB (Falkner et al. 2018,
https://arxiv.org/abs/1807.01774) does: N_min + 2, and N_min = d + 1.
`every`: all rungs of all trials, each at its place, for a model that knows of rungs.

A trial that failed, or scored no number, counts as the worst value there is, so that its surroundings are avoided.
One of an earlier search with other constraints says nothing of these ones, and counts as the median.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Literal

from luthier.trials.domains import Choice
from luthier.trials.history import History, Rung, Trial, Values
from luthier.trials.space import Space

Rule = Literal["last", "highest", "every"]
Figures = tuple[float, ...]
"""Of a rung: one for each objective, or for each constraint."""


@dataclass(frozen=True)
class Point:
    """A setting, and what it scored at a rung."""

    values: Values
    scores: tuple[float, ...]
    """One for each objective; lower is better."""
    excess: tuple[float, ...]
    """For each constraint by how much it is broken."""
    place: float
    """Of its rung: 1 at the highest one, 0 at a single unit, by the logarithm between."""
    is_measured: bool = True
    """Whether its constraints were; else their excess is that of the others."""

    @property
    def is_feasible(self) -> bool:
        return all(each <= 0 for each in self.excess)


@dataclass(frozen=True)
class Seen:
    """What a model learns from."""

    points: tuple[Point, ...]
    pending: tuple[Values, ...]
    """Settings of trials that run."""
    waiting: tuple[Values, ...]
    """Settings of trials that are paused."""

    @property
    def num_objectives(self) -> int:
        return len(self.points[0].scores) if self.points else 1


def seen(space: Space, history: History, rule: Rule) -> Seen:
    """The points of a history, earlier searches' first, by a rule; trials that lack a value, or have
    one that lies outside, are passed over."""
    own, earlier = ([t for t in each if _lies_in(space, t)] for each in (history.trials, history.earlier))
    running, waiting = (tuple(t.values for t in own if t.state == state) for state in ("running", "paused"))
    trials = [*earlier, *own]
    top = max((trial.resource for trial in trials), default=0)
    judged = [trial for trial in trials if trial.rungs and not _has_failed(trial)]
    num_constraints = _num_constraints(history)
    if rule == "every":
        points = [_point(trial, rung, top) for trial in judged for rung in trial.rungs]
    elif rule == "highest" and (resource := highest(judged, len(space.parameters) + 3)):
        points = [_point(trial, rung, top) for trial in judged if (rung := trial.at(resource))]
    else:
        points = _last(judged, top, num_constraints)
    points = _of_one_kind(points, num_constraints)
    points += _failures(trials, points)
    return Seen(tuple(points), running, waiting)


def _num_constraints(history: History) -> int:
    """Those of this search; before it has judged a trial, those of the latest earlier one."""
    latest = (rung for trial in (*reversed(history.trials), *reversed(history.earlier)) for rung in trial.rungs)
    rung = next(latest, None)
    return len(rung.excess) if rung else 0


def _of_one_kind(points: Sequence[Point], num_constraints: int) -> list[Point]:
    """The points; where another number of constraints was measured, the median of the others stands for these."""
    known = [point.excess for point in points if len(point.excess) == num_constraints]
    usual = tuple(median(each) for each in zip(*known, strict=True))
    return [
        point if len(point.excess) == num_constraints else replace(point, excess=usual, is_measured=False)
        for point in points
    ]


def highest(trials: Sequence[Trial], least: int) -> int | None:
    """The most units at which at least so many trials were judged."""
    places = sorted({rung.resource for trial in trials for rung in trial.rungs}, reverse=True)
    return next((place for place in places if sum(trial.at(place) is not None for trial in trials) >= least), None)


def steps(trials: Sequence[Trial], figures: Callable[[Rung], Figures] = lambda rung: rung.values) -> dict[int, Figures]:
    """What a rung's figures are short of those at the highest: of each the sum of the median steps between."""
    places = sorted({rung.resource for trial in trials for rung in trial.rungs})
    found = {places[-1]: tuple(0.0 for _ in figures(trials[0].rungs[0]))} if places else {}
    for lower, higher in pairwise(reversed(places)):
        both = [(below, above) for t in trials if (below := t.at(higher)) and (above := t.at(lower))]
        moves = [_moved(figures(above), figures(below), by=-1) for below, above in both]
        step = tuple(median(each) for each in zip(*moves, strict=True)) or tuple(0.0 for _ in found[lower])
        found[higher] = _moved(found[lower], step)
    return found


def _moved(figures: Figures, step: Figures, *, by: int = 1) -> Figures:
    return tuple(one + by * other for one, other in zip(figures, step, strict=True))


def _last(judged: Sequence[Trial], top: int, num_constraints: int) -> list[Point]:
    """Every trial at its last rung; scores and excess as they usually are at the highest."""
    levels = steps(judged)
    is_limited = [all(len(rung.excess) == num_constraints for rung in trial.rungs) for trial in judged]
    growth = steps([trial for trial, is_so in zip(judged, is_limited, strict=True) if is_so], lambda rung: rung.excess)
    found = []
    for trial, is_so in zip(judged, is_limited, strict=True):
        point, resource = _point(trial, trial.rungs[-1], top), trial.resource
        excess = _moved(point.excess, growth[resource]) if is_so else point.excess
        found.append(replace(point, scores=_moved(point.scores, levels[resource]), excess=excess))
    return found


def _point(trial: Trial, rung: Rung, top: int) -> Point:
    place = math.log(rung.resource) / math.log(top) if top > 1 else 1.0
    return Point(trial.values, rung.values, rung.excess, place)


def _failures(trials: Iterable[Trial], points: Sequence[Point]) -> list[Point]:
    """The trials that failed, as bad as the worst."""
    if not points:
        return []
    worst = tuple(max(each) for each in zip(*(point.scores for point in points), strict=True))
    excess = tuple(max(each) for each in zip(*(point.excess for point in points), strict=True))
    return [Point(trial.values, worst, excess, 1.0) for trial in trials if _has_failed(trial)]


def _has_failed(trial: Trial) -> bool:
    return trial.state == "failed" or not all(
        math.isfinite(value) for rung in trial.rungs for value in (*rung.values, *rung.excess)
    )


def _lies_in(space: Space, trial: Trial) -> bool:
    """Whether each parameter that applies has a value of its domain."""
    return space.is_whole(trial.values) and all(
        str(value) in domain.labels if isinstance(domain, Choice) else domain.value_of(value) is not None
        for parameter in space.active(trial.values)
        for domain, value in [(parameter.domain, trial.values[parameter.name])]
    )
