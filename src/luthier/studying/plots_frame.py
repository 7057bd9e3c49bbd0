"""What the plots of a search share: axes of any domain, marks that tell what they are, and a frame round them.

Shapes and words carry what colours do: what is best is drawn heavy, what was given up is pale.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Self

from luthier.report.markup import Markup, join, tag
from luthier.report.plots import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, axes
from luthier.report.words import number
from luthier.studying.standing import Standing, rung_of
from luthier.trials.domains import Choice, Log, Whole
from luthier.trials.history import Trial, Value
from luthier.trials.space import Parameter

WIDE = 2 * WIDTH
HALO = "paint-order:stroke;stroke:var(--paper);stroke-width:3px"
"""Style of words that lines run through."""
PALE = 0.3
"""Opacity of what did not come far."""
FURTHEST = 3.0
"""Times the distance of the median from the best at which a score is drawn on the border: one that diverged would press
all others into a line."""


@dataclass(frozen=True)
class Powers(Axis):
    """A logarithmic axis, whose values are powers of ten."""

    @classmethod
    def over(cls, low: float, high: float, start: float, end: float) -> Self:
        """From the round number below to the one above: powers of ten, or 1, 2 and 5 of them where few fit."""
        decades = range(math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9) + 1)
        if len(decades) > 2:
            return cls(tuple(map(float, decades)), start, end)
        ticks = [power + math.log10(factor) for power in decades for factor in (1, 2, 5)]
        first = max((tick for tick in ticks if tick <= math.log10(low) + 1e-9), default=ticks[0])
        last = min((tick for tick in ticks if tick >= math.log10(high) - 1e-9), default=ticks[-1])
        return cls(tuple(tick for tick in ticks if first <= tick <= last), start, end)

    def label(self, tick: float) -> str:
        return small(10**tick)


@dataclass(frozen=True)
class Named(Axis):
    """Places with names, evenly apart."""

    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, names: Sequence[str], start: float, end: float) -> Self:
        """A place for each name, with half a step of room at either side."""
        step = (end - start) / max(1, len(names))
        ends = (start + step / 2, end - step / 2) if len(names) > 1 else (start, end)
        return cls(tuple(float(place) for place in range(len(names))), *ends, tuple(names))

    def at(self, value: float) -> float:
        if len(self.ticks) > 1:
            return super().at(value)
        return round((self.start + self.end) / 2, 1)

    def label(self, tick: float) -> str:
        return self.names[int(tick)]


@dataclass(frozen=True)
class Clipped(Axis):
    """An axis on whose border lies what is beyond it."""

    def at(self, value: float) -> float:
        return super().at(min(self.ticks[-1], max(self.ticks[0], value)))


def small(value: float) -> str:
    """Of a tick, in few characters: 1e-3 and not 0.001."""
    if 0.01 <= value < 10_000:
        return f"{value:.3g}"
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def axis_of(parameter: Parameter, values: Sequence[Value], start: float, end: float) -> Axis:
    """The axis of a parameter's domain, wide enough for values that lie beside it."""
    domain = parameter.domain
    if isinstance(domain, Choice):
        return Named.of(domain.labels, start, end)
    ends = domain.log if isinstance(domain, Log) else domain.int if isinstance(domain, Whole) else domain.uniform
    numbers = [*ends, *(value for value in values if isinstance(value, int | float))]
    if isinstance(domain, Log):
        return Powers.over(min(each for each in numbers if each > 0), max(numbers), start, end)
    return Axis.around([float(each) for each in numbers], start, end)


def place_of(parameter: Parameter, value: Value, axis: Axis) -> float:
    """The pixel of a parameter's value."""
    domain = parameter.domain
    if isinstance(domain, Choice):
        return axis.at(float(domain.labels.index(str(value))))
    if isinstance(domain, Log):
        return axis.at(math.log10(max(float(value), 10 ** axis.ticks[0])))
    return axis.at(float(value))


def scores_axis(standing: Standing, values: Sequence[float], start: float, end: float) -> Axis:
    """An axis of scores that holds the good half of them, and as much beside it."""
    sign = -1 if standing.goal.higher_is_better else 1
    turned = sorted(sign * value for value in values)
    worst = turned[0] + FURTHEST * (median(turned) - turned[0])
    shown = [sign * each for each in turned if each <= worst] if worst > turned[0] else list(values)
    return Clipped.around(shown, start, end)


def upright(standing: Standing, values: Sequence[float]) -> Axis:
    """The scores from below to above, in a plot of the usual height."""
    return scores_axis(standing, values, HEIGHT - BOTTOM, TOP)


def across(width: float = WIDE) -> tuple[float, float]:
    """Where what runs from left to right begins and ends."""
    return LEFT, width - RIGHT


def score_of(standing: Standing, trial: Trial) -> float:
    """The last score of a trial that was judged."""
    return standing.goal.score(rung_of(trial).values[0])


def judged(standing: Standing) -> list[Trial]:
    """Trials with a score that can be drawn."""
    return [t for t in standing.history.trials if t.last is not None and math.isfinite(t.last.values[0])]


def dot(
    x: float, y: float, told: str, *, radius: float = 3, hollow: bool = False, class_: str | None = "line1"
) -> Markup:
    """A mark that says what it is where the pointer rests on it; without a class of the colour that is round it."""
    style = "fill:var(--paper);stroke:currentColor;stroke-width:1.5" if hollow else None
    return tag("circle", tag("title", told), cx=x, cy=y, r=radius, style=style, class_=class_)


def path(places: Sequence[tuple[float, float]], **how: object) -> Markup:
    """A line through pixels."""
    return tag("polyline", points=" ".join(f"{x},{y}" for x, y in places), **how)


def framed(
    name: str,
    told: str,
    x: Axis,
    y: Axis,
    x_label: str,
    marks: Sequence[object],
    *,
    key: object = "",
    wide: bool = True,
) -> Markup:
    """A plot with its axes; `told` is what it shows, for who cannot see it."""
    return drawing(name, told, [*axes(x, y, x_label), *marks], key=key, width=WIDE if wide else WIDTH)


def drawing(
    name: str, told: str, marks: Sequence[object], *, key: object = "", width: float = WIDE, height: float = HEIGHT
) -> Markup:
    """A figure of these marks."""
    svg = tag(
        "svg",
        tag("title", told),
        *marks,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
    )
    style = "max-width:44rem" if width > WIDTH else None
    return tag("figure", tag("figcaption", tag("b", name), key), svg, style=style)


def keys(*names: tuple[str, str]) -> Markup:
    """The names of lines, each with its class."""
    return join(tag("span", name, class_=f"key {class_}") for name, class_ in names)


def told_trial(standing: Standing, trial: Trial) -> str:
    """A trial's number and score."""
    return f"trial {trial.number}: {number(score_of(standing, trial))}"
