"""A comparison as one page of HTML: what follows, the table with each score's interval, score by what is learnt."""

import math
from collections.abc import Mapping, Sequence

from luthier.comparing.figures import HEAD, figures
from luthier.comparing.outcome import Outcome
from luthier.report.markup import Markup, join, table, tag
from luthier.report.page import of_sections
from luthier.report.plots import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, axes


def page(title: str, ranking: Sequence[Outcome], refused: Mapping[str, str], conclusions: Sequence[str]) -> str:
    """The whole page."""
    sections = {
        "What follows": join(tag("p", sentence) for sentence in conclusions),
        "Side by side": _table(ranking) if ranking else Markup(""),
        "Score by what is learnt": _scatter(ranking),
        "Not compared": join(tag("p", tag("b", name), ": ", reason) for name, reason in refused.items()),
    }
    return of_sections(title, sections)


def _table(ranking: Sequence[Outcome]) -> Markup:
    ends = [end for each in ranking for end in (each.score.low, each.score.high) if math.isfinite(end)]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    name, score, *others = HEAD
    return table([name, score, "", *others], [_row(each, low, high) for each in ranking])


def _row(each: Outcome, low: float, high: float) -> list[object]:
    """A table's row, with a bar from the interval's one end to the other on an axis that all rows share."""

    def place(value: float) -> str:
        return f"{100 * (value - low) / ((high - low) or 1):.1f}%"

    name, score, *others = figures(each)
    ends = {"low": each.score.low, "high": each.score.high, "value": each.score.value}
    style = ";".join(f"--{end}:{place(value)}" for end, value in ends.items() if math.isfinite(value))
    return [name, score, tag("td", tag("span", class_="range", style=style, aria_hidden="true")), *others]


def _scatter(ranking: Sequence[Outcome]) -> Markup:
    """Score over the share of parameters that learns, on a logarithmic axis; empty where there is nothing to see."""
    shown = [each for each in ranking if each.num_trainable and math.isfinite(each.score.value)]
    if len(shown) < 2:
        return Markup("")
    shares = [math.log10(each.num_trainable / each.num_parameters) for each in shown]
    x = Axis.around(shares, LEFT, 2 * WIDTH - RIGHT)
    y = Axis.around([each.score.value for each in shown], HEIGHT - BOTTOM, TOP)
    dots = [_dot(each, x.at(share), y.at(each.score.value)) for each, share in zip(shown, shares, strict=True)]
    drawing = tag(
        "svg",
        tag("title", f"{shown[0].metric} by the share of parameters that learns"),
        *axes(x, y, "parameters that learn, powers of ten of all"),
        *dots,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {2 * WIDTH} {HEIGHT}",
        role="img",
    )
    return tag("figure", tag("figcaption", tag("b", shown[0].metric)), drawing)


def _dot(each: Outcome, x: float, y: float) -> Markup:
    mark = tag("circle", cx=x, cy=y, r=3.5, class_="line1")
    return tag("g", mark, tag("text", each.name, x=x + 6, y=y - 5), class_="line1")
