"""A curve as one page of HTML: what follows, the table, and score by examples per class with what lies beyond."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from luthier.curves.figures import HEAD, figures
from luthier.curves.outlook import Outlook
from luthier.curves.points import Point, Scale
from luthier.evaluation.score import Score
from luthier.report.markup import Markup, join, table, tag
from luthier.report.page import of_sections
from luthier.report.plots import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, axes
from luthier.report.words import number

NUM_DRAWN = 60
"""Places at which the fitted curve is drawn."""
EXPLAINED = (
    "The intervals are Student's, over splits: how far the score moves with the rows that were drawn. How far it would "
    "move with other test rows is in each run's own report. Dots are single runs; dashes are the fitted error, "
    "a + b * size^-c, drawn on to sizes that were not tried."
)


@dataclass(frozen=True)
class Doublings(Axis):
    """An axis of powers of two, whose values are their exponents."""

    @classmethod
    def over(cls, sizes: Sequence[float], start: float, end: float) -> Self:
        """From the power of two below the smallest to the one above the largest."""
        first, last = math.floor(math.log2(min(sizes))), math.ceil(math.log2(max(sizes)))
        return cls(tuple(float(power) for power in range(first, max(last, first + 1) + 1)), start, end)

    def label(self, tick: float) -> str:
        return f"{2**tick:g}"


def page(
    title: str,
    points: Sequence[Point],
    outlook: Outlook,
    scale: Scale,
    refused: Mapping[str, str],
    conclusions: Sequence[str],
) -> str:
    """The whole page."""
    sections = {
        "What follows": join(tag("p", sentence) for sentence in conclusions),
        "Score by examples": join([_plot(points, outlook, scale), tag("p", EXPLAINED, class_="muted")]),
        "By size": table(HEAD, (figures(point) for point in points)),
        "Not run": join(tag("p", tag("b", name), ": ", reason) for name, reason in refused.items()),
    }
    return of_sections(title, sections)


def _plot(points: Sequence[Point], outlook: Outlook, scale: Scale) -> Markup:
    sizes = [*(point.size for point in points), *(each.size for each in outlook.forecasts)]
    shown = [*(point.score for point in points), *(each.score for each in outlook.forecasts)]
    values = [end for score in shown for end in (score.value, score.low, score.high)]
    values += [score for point in points for score in point.scores.values()]
    x = Doublings.over(sizes, LEFT, 2 * WIDTH - RIGHT)
    y = Axis.around([value for value in values if math.isfinite(value)], HEIGHT - BOTTOM, TOP)
    told = "; ".join(f"{point.size}: {number(point.score.value)}" for point in points)
    drawing = tag(
        "svg",
        tag("title", f"{scale.metric} by examples per class: {told}"),
        *axes(x, y, "examples per class"),
        _fitted(max(sizes), points[0].size, outlook, scale, x, y),
        *(_mark(each.size, each.score, x, y, "line2") for each in outlook.forecasts),
        *(_runs(point, x, y) for point in points),
        tag("polyline", points=_path(((p.size, p.score.value) for p in points), x, y), class_="line1"),
        *(_mark(point.size, point.score, x, y, "line1") for point in points),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {2 * WIDTH} {HEIGHT}",
        role="img",
    )
    return tag("figure", tag("figcaption", tag("b", scale.metric)), drawing, style="max-width:44rem")


def _fitted(most: int, least: int, outlook: Outlook, scale: Scale, x: Axis, y: Axis) -> Markup:
    """The fitted curve as dashes; empty where there is none."""
    if outlook.law is None:
        return Markup("")
    law, sizes = outlook.law, np.geomspace(least, most, NUM_DRAWN)
    places = ((float(size), scale.turned(law.at(float(size)))) for size in sizes)
    inside = ((size, value) for size, value in places if y.ticks[0] <= value <= y.ticks[-1])
    return tag("polyline", points=_path(inside, x, y), stroke_dasharray="4 4", class_="line2")


def _path(places: Iterable[tuple[float, float]], x: Axis, y: Axis) -> str:
    return " ".join(f"{x.at(math.log2(size))},{y.at(value)}" for size, value in places)


def _runs(point: Point, x: Axis, y: Axis) -> Markup:
    """A pale dot for each run of a size."""
    dots = (tag("circle", cx=x.at(math.log2(point.size)), cy=y.at(score), r=2) for score in point.scores.values())
    return tag("g", *dots, class_="line1", opacity=0.35)


def _mark(size: int, score: Score, x: Axis, y: Axis, class_: str) -> Markup:
    """A dot with its interval as an upright line."""
    across, ends = x.at(math.log2(size)), (score.low, score.high)
    parts = [tag("circle", cx=across, cy=y.at(score.value), r=3.5)]
    if all(map(math.isfinite, ends)):
        low, high = map(y.at, ends)
        parts.append(tag("line", x1=across, x2=across, y1=low, y2=high, stroke="currentColor"))
    return tag("g", *parts, class_=class_)
