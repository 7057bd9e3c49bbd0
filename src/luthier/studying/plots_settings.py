"""Scores by settings, as plots: slices, one setting each, and parallel coordinates, all of them at once."""

from collections import Counter
from collections.abc import Sequence

from luthier.report.markup import Markup, join, table, tag
from luthier.report.plots import LEFT, RIGHT, WIDTH, Axis
from luthier.report.words import percent
from luthier.studying.importance import Importance
from luthier.studying.plots_frame import (
    HALO,
    PALE,
    WIDE,
    across,
    axis_of,
    dot,
    drawing,
    framed,
    judged,
    path,
    place_of,
    score_of,
    scores_axis,
    told_trial,
    upright,
)
from luthier.studying.standing import Standing
from luthier.studying.words import written
from luthier.trials.history import Trial
from luthier.trials.space import Parameter, Space

HIGH = 260
"""Height of parallel coordinates."""
HEAD, FOOT = 46, 34
"""Their room above, for names, and below, for what does not apply."""
BEST_SHARE = 0.2
"""Share of the trials that are drawn as good ones."""


def short_names(space: Space) -> dict[str, str]:
    """The last words of the parameters' paths, as many as tell them apart."""
    paths = [parameter.path for parameter in space.parameters]
    ends = Counter(path.rpartition(".")[2] for path in set(paths))
    last = {path: path.rpartition(".")[2] for path in paths}
    short = {path: end if ends[end] == 1 else ".".join(path.split(".")[-2:]) for path, end in last.items()}
    several = Counter(paths)
    return {
        p.name: f"{short[p.path]} ({', '.join(label for _, label in p.under)})"
        if several[p.path] > 1
        else short[p.path]
        for p in space.parameters
    }


def slices(standing: Standing) -> Markup:
    """A small plot for each parameter; what was judged at the winner's rung is dark, what was given up is pale."""
    trials = judged(standing)
    if len(trials) < 2:
        return Markup("")
    y = upright(standing, [score_of(standing, trial) for trial in trials])
    names = short_names(standing.space)
    drawn = [_slice(standing, parameter, names[parameter.name], trials, y) for parameter in standing.space.parameters]
    return tag("div", *drawn, class_="charts")


def _slice(standing: Standing, parameter: Parameter, name: str, trials: Sequence[Trial], y: Axis) -> Markup:
    own = [trial for trial in trials if parameter.name in trial.values and _is_known(parameter, trial)]
    if not own:
        return Markup("")
    x = axis_of(parameter, [trial.values[parameter.name] for trial in own], *across(WIDTH))
    best, top = standing.best, {trial.number for trial in standing.candidates}

    def mark(trial: Trial) -> Markup:
        value = trial.values[parameter.name]
        is_best = best is not None and trial.number == best.number
        told = f"{told_trial(standing, trial)}, {written(value)}"
        place = (place_of(parameter, value, x), y.at(score_of(standing, trial)))
        made = dot(*place, told, radius=4.5 if is_best else 2.5, hollow=is_best, class_="line1" if is_best else "line2")
        return tag("g", made, opacity=None if trial.number in top else PALE)

    in_order = sorted(own, key=lambda trial: (best is not None and trial.number == best.number, trial.number in top))
    told = f"{standing.goal.name} of {len(own)} trials by {parameter.path}"
    return framed(name, told, x, y, parameter.path, [mark(trial) for trial in in_order], wide=False)


def _is_known(parameter: Parameter, trial: Trial) -> bool:
    """Whether the value can be placed: that of the recipe as it stands may be no option."""
    labels = getattr(parameter.domain, "labels", None)
    return labels is None or str(trial.values[parameter.name]) in labels


def parallel(standing: Standing) -> Markup:
    """A column for each parameter and one for the score, a line for each trial; empty of a single parameter."""
    space, trials = standing.space, [trial for trial in judged(standing) if standing.space.is_whole(trial.values)]
    trials = [t for t in trials if all(_is_known(p, t) for p in space.active(t.values))]
    if len(space.parameters) < 2 or len(trials) < 2:
        return Markup("")
    names, bottom = short_names(space), HIGH - FOOT
    columns = len(space.parameters)
    places = [LEFT + (WIDE - LEFT - RIGHT - 40) * column / columns for column in range(columns + 1)]
    upward = {
        p.name: axis_of(p, [t.values[p.name] for t in trials if p.name in t.values], bottom, HEAD)
        for p in space.parameters
    }
    scores = scores_axis(standing, [score_of(standing, trial) for trial in trials], bottom, HEAD)
    ranked = sorted(trials, key=lambda trial: trial.last.values[0] if trial.last else 0.0, reverse=True)
    candidates = {trial.number for trial in standing.candidates}
    good = {
        t.number
        for t in sorted(standing.candidates, key=lambda t: t.last.values[0] if t.last else 0.0)[
            : max(1, round(BEST_SHARE * len(trials)))
        ]
    }
    best = standing.best

    def line(trial: Trial) -> Markup:
        course = [
            (x, place_of(p, trial.values[p.name], upward[p.name]) if p.name in trial.values else bottom + 16)
            for x, p in zip(places, space.parameters, strict=False)
        ]
        course.append((places[-1], scores.at(score_of(standing, trial))))
        is_best = best is not None and trial.number == best.number
        width = "stroke-width:3" if is_best else "stroke-width:1.5" if trial.number in good else "stroke-width:1"
        shade = 1 if is_best else 0.8 if trial.number in good else PALE if trial.number in candidates else PALE / 2
        name = tag("title", told_trial(standing, trial))
        return tag("g", name, path(course, style=width), class_="line1" if is_best else "line2", opacity=shade)

    heads = [*(names[p.name] for p in space.parameters), standing.goal.name]
    axes = [*(upward[p.name] for p in space.parameters), scores]
    marks = [
        _column(x, axis, name, place) for place, (x, axis, name) in enumerate(zip(places, axes, heads, strict=True))
    ]
    if any(p.under for p in space.parameters):
        marks.append(tag("text", "none", x=LEFT - 7, y=bottom + 20, text_anchor="end"))
    told = f"{len(trials)} trials over {columns} settings and {standing.goal.name}"
    key = "A line for each trial; the heaviest is the winner, dark ones are the best fifth."
    return drawing("All settings at once", told, [*map(line, ranked), *marks], key=key, height=HIGH)


def _column(x: float, axis: Axis, name: str, place: int) -> Markup:
    """An upright axis, its ticks to the left; names of neighbours stand at two heights."""
    stem = tag("line", x1=x, x2=x, y1=axis.end, y2=axis.start, class_="grid")
    ticks = [
        tag("text", axis.label(tick), x=x - 4, y=axis.at(tick) + 4, text_anchor="end", style=HALO)
        for tick in axis.ticks
    ]
    head = tag("text", name, x=max(x, LEFT), y=14 + 16 * (place % 2), text_anchor="middle" if place else "start")
    return tag("g", stem, *ticks, head)


def importance_bars(space: Space, found: Importance) -> Markup:
    """A bar for each parameter, with its share; the reason where there are none."""
    if found.reason:
        return tag("p", f"Not known: {found.reason}.", class_="muted")
    paths = {parameter.name: parameter.path for parameter in space.parameters}
    rows = [[_named(name, paths), percent(round(share, 3)), _bar(share)] for name, share in found.shares.items()]
    return join([table(["setting", "share", ""], rows)])


def _named(name: str, paths: dict[str, str]) -> str:
    """The path; of one that lies under a choice its name, which tells under which."""
    return name if ":" in name else paths.get(name, name)


def _bar(share: float) -> Markup:
    style = f"--low:0%;--high:{100 * share:.1f}%;--value:{100 * share:.1f}%"
    return tag("td", tag("span", class_="range", style=style, aria_hidden="true"))
