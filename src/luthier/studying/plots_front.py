"""What a search came to, as plots: the front of several objectives, and the final runs seed by seed."""

import math
from collections.abc import Sequence
from itertools import pairwise

from luthier.report.markup import Markup, tag
from luthier.report.plots import BOTTOM, HEIGHT, TOP, Axis
from luthier.report.words import number
from luthier.studying.plots_frame import PALE, Clipped, Named, across, dot, framed, judged, keys, path, upright
from luthier.studying.standing import Goal, Standing, rung_of
from luthier.studying.verdict import Verdict
from luthier.trials.history import Trial


def front(standing: Standing) -> list[Markup]:
    """The first objective over each other one; empty of a single one."""
    return [_front(standing, place) for place in range(1, len(standing.goals)) if standing.candidates]


def _front(standing: Standing, place: int) -> Markup:
    goal, other = standing.goal, standing.goals[place]

    def values(trial: Trial) -> tuple[float, float]:
        found = rung_of(trial).values
        return other.score(found[place]), goal.score(found[0])

    shown = [trial for trial in judged(standing) if all(map(math.isfinite, values(trial)))]
    best, kept = {trial.number for trial in standing.candidates}, standing.front
    on_it = {trial.number for trial in kept}
    x = Clipped.around([values(trial)[0] for trial in shown if trial.number in best], *across())
    y = upright(standing, [values(trial)[1] for trial in shown])

    def mark(trial: Trial) -> Markup:
        across_, up = values(trial)
        told = f"trial {trial.number}: {goal.name} {number(up)}, {other.name} {number(across_)}"
        where = (x.at(across_), y.at(up))
        if trial.number not in on_it:
            made = dot(*where, told, radius=2.5, class_="line2")
            return tag("g", made, opacity=0.6 if trial.number in best else PALE)
        name = tag("text", trial.number, x=where[0] + 6, y=where[1] - 5)
        return tag("g", dot(*where, told, radius=4), name, class_="line1")

    in_order = sorted(shown, key=lambda trial: (trial.number in on_it, trial.number in best))
    line = path(_stairs([values(trial) for trial in kept], x, y), stroke_dasharray="4 4")
    told = f"{len(kept)} trials on the front of {goal.name} and {other.name}"
    key = keys(("on the front, with their numbers", "line1"), ("others", "line2"))
    marks = [tag("g", line, class_="line1", opacity=0.6), *map(mark, in_order)]
    return framed(f"{goal.name} by {other.name}", told, x, y, _ways(other), marks, key=key)


def _ways(goal: Goal) -> str:
    return f"{goal.name} ({'more' if goal.higher_is_better else 'less'} is better)"


def _stairs(points: Sequence[tuple[float, float]], x: Axis, y: Axis) -> list[tuple[float, float]]:
    """What the front's points dominate ends at a line of steps."""
    places = sorted((x.at(a), y.at(b)) for a, b in points)
    corners = [corner for one, other in pairwise(places) for corner in (one, (other[0], one[1]))]
    return [*corners, *places[-1:]]


def by_seed(verdict: Verdict) -> Markup:
    """Winner and default under each seed, joined where both were trained; empty of a winner alone."""
    if verdict.default is None:
        return Markup("")
    seeds = sorted({*verdict.winner.scores, *verdict.default.scores})
    x = Named.of([f"{seed}" for seed in seeds], *across())
    y = Axis.around([*verdict.winner.scores.values(), *verdict.default.scores.values()], HEIGHT - BOTTOM, TOP)
    marks = list[Markup]()
    for place, seed in enumerate(seeds):
        ours, theirs, where = verdict.winner.scores.get(seed), verdict.default.scores.get(seed), x.at(float(place))
        if ours is not None and theirs is not None:
            marks.append(tag("line", x1=where, x2=where, y1=y.at(ours), y2=y.at(theirs), stroke="currentColor"))
        if theirs is not None:
            told = f"the recipe as it stands, seed {seed}: {number(theirs)}"
            marks.append(dot(where, y.at(theirs), told, radius=4, hollow=True, class_="line2"))
        if ours is not None:
            marks.append(dot(where, y.at(ours), f"the winner, seed {seed}: {number(ours)}", radius=4))
    told = f"{verdict.metric} on {verdict.split} rows under {len(seeds)} seeds, winner and recipe as it stands"
    key = keys(("the winner, filled", "line1"), ("the recipe as it stands, hollow", "line2"))
    return framed(f"{verdict.metric}, {verdict.split}", told, x, y, "seed", marks, key=key)
