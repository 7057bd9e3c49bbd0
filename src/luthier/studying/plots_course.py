"""How a search went, as plots: the best so far over what was spent, and each trial from rung to rung."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from luthier.report.markup import Markup, tag
from luthier.report.plots import Axis
from luthier.report.words import number
from luthier.studying.plots_frame import (
    PALE,
    Named,
    across,
    dot,
    framed,
    judged,
    keys,
    path,
    told_trial,
    upright,
)
from luthier.studying.standing import Arrival, Standing
from luthier.studying.words import part_of
from luthier.trials.history import Trial


@dataclass(frozen=True)
class Spent:
    """A trial was judged when so many full runs were spent."""

    number: int
    runs: float
    score: float


def spending(standing: Standing, resource: int) -> Iterator[Spent]:
    """The trials that came to a rung, in the order of time, or by their numbers where that is not known."""
    by_number = {trial.number: trial for trial in standing.history.trials}
    course = standing.course or [
        Arrival(trial.number, rung.resource) for trial in standing.history.trials for rung in trial.rungs
    ]
    done, units = dict[int, int](), 0
    for each in course:
        trial = by_number.get(each.number)
        units += max(0, each.resource - done.get(each.number, 0))
        done[each.number] = max(each.resource, done.get(each.number, 0))
        rung = trial.at(resource) if trial else None
        if each.resource == resource and rung and rung.is_feasible and math.isfinite(rung.values[0]):
            yield Spent(each.number, standing.full_runs(units), standing.goal.score(rung.values[0]))


def best_so_far(standing: Standing) -> Markup:
    """The best score at the winner's rung over full runs spent; empty where there is no winner."""
    best = standing.best
    points = list(spending(standing, best.resource)) if best else []
    if best is None or not points:
        return Markup("")
    spent = max(points[-1].runs, standing.full_runs(standing.used))
    x = Axis.around([0.0, spent], *across())
    y = upright(standing, [each.score for each in points])
    line, now = _steps(points, standing.goal.higher_is_better)
    course = [*((x.at(runs), y.at(score)) for runs, score in line), (x.at(spent), y.at(now))]
    told = [f"trial {each.number}: {number(each.score)}" for each in points]
    dots = [
        dot(x.at(each.runs), y.at(each.score), words, radius=2.5, class_="line2")
        for each, words in zip(points, told, strict=True)
    ]
    marks = [tag("g", *dots, opacity=0.6), tag("g", path(course), class_="line1")]
    key = (
        f"{standing.goal.name} after {part_of(best.resource, standing)}; dots are trials, the line is the best so far."
    )
    if first := next((each for each in points if each.number == 0), None):
        level = [(x.start, y.at(first.score)), (x.end, y.at(first.score))]
        marks.insert(0, tag("g", path(level, stroke_dasharray="4 4"), class_="line2"))
        key += " Dashes: the recipe as it stands."
    shown = f"{standing.goal.name}, the best so far from {number(points[0].score)} to {number(now)}"
    return framed("Best so far", shown, x, y, "full runs spent", marks, key=key)


def _steps(points: Sequence[Spent], higher_is_better: bool) -> tuple[list[tuple[float, float]], float]:
    """A line that is level until something is better; and where it ends."""
    better = max if higher_is_better else min
    line, now = list[tuple[float, float]](), points[0].score
    for each in points:
        ahead = better(now, each.score)
        line += [(each.runs, now), (each.runs, ahead)]
        now = ahead
    return line, now


def rungs(standing: Standing) -> Markup:
    """Each trial's scores from rung to rung; empty where all were judged at one place."""
    trials = judged(standing)
    places = sorted({rung.resource for trial in trials for rung in trial.rungs})
    if len(places) < 2:
        return Markup("")
    x = Named.of([f"{place}/{standing.terms.horizon}" for place in places], *across())
    values = [standing.goal.score(r.values[0]) for t in trials for r in t.rungs if math.isfinite(r.values[0])]
    y = upright(standing, values)
    best, top = standing.best, {trial.number for trial in standing.candidates}

    def line(trial: Trial) -> Markup:
        course = [
            (x.at(float(places.index(rung.resource))), y.at(standing.goal.score(rung.values[0])))
            for rung in trial.rungs
            if math.isfinite(rung.values[0])
        ]
        is_best = best is not None and trial.number == best.number
        drawn = path(course, style="stroke-width:3" if is_best else None) if len(course) > 1 else ""
        mark = dot(*course[-1], told_trial(standing, trial), radius=4 if is_best else 2, class_=None)
        shade = None if is_best else 0.75 if trial.number in top else PALE
        return tag("g", drawn, mark, class_="line1" if is_best else "line2", opacity=shade)

    lost_first = sorted(trials, key=lambda t: (best is not None and t.number == best.number, t.number in top))
    told = f"{standing.goal.name} of {len(trials)} trials at {len(places)} rungs; {len(top)} came to the last one"
    key = keys(("the winner", "line1"), ("others, pale where they were given up", "line2"))
    return framed("Rungs", told, x, y, "part of a full run", [line(trial) for trial in lost_first], key=key)
