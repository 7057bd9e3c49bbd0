"""Small line charts as inline SVG: colours come from the page's style, so they follow its light or dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.report.markup import Markup, join, tag
from luthier.report.words import number

WIDTH, HEIGHT = 270, 165
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 34
"""Room around the plot for the labels of the axes."""
MOST_POINTS = 200
"""More would not be seen on so small a chart, only weigh."""

ALIKE = 1e-9
"""Share of a value below which a difference is rounding: ticks could not show it."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A named series of points from left to right."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Axis:
    """Maps values to pixels, with round ticks that enclose them all."""

    ticks: tuple[float, ...]
    start: float
    end: float

    @classmethod
    def around(cls, values: Sequence[float], start: float, end: float) -> "Axis":
        return cls(round_ticks(min(values), max(values)), start, end)

    def at(self, value: float) -> float:
        """Pixel of a value, to a tenth."""
        low, high = self.ticks[0], self.ticks[-1]
        return round(self.start + (value - low) / (high - low) * (self.end - self.start), 1)

    def label(self, tick: float) -> str:
        """A tick with as many decimals as its neighbours differ in; tiny ones as 5.0e-5."""
        decimals = -math.floor(math.log10(self.ticks[1] - self.ticks[0]) + 1e-9)
        if decimals <= 3 or tick == 0:
            return f"{tick:.{max(0, decimals) if tick else 0}f}"
        mantissa, exponent = f"{tick:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"


def round_ticks(low: float, high: float, most: int = 5) -> tuple[float, ...]:
    """At most `most` + 1 multiples of 1, 2 or 5 times a power of ten, from below `low` to above `high`."""
    span = high - low if high - low > ALIKE * abs(high) else abs(high) or 1.0
    power = 10 ** math.floor(math.log10(span / most))
    for step in (power * factor for factor in (1, 2, 5, 10, 20)):
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        last = max(last, first + 1)
        if last - first <= most:
            break
    return tuple(float(f"{number * step:.10g}") for number in range(first, last + 1))


def chart(title: str, lines: Sequence[Line], *, x_label: str = "step") -> Markup:
    """A figure with one or two lines; empty where no line has two points."""
    lines = [line for line in (Line(line.name, _thinned(line.points)) for line in lines) if line.points]
    if all(len(line.points) < 2 for line in lines):
        return Markup("")
    x = Axis.around([0, *(x for line in lines for x, _ in line.points)], LEFT, WIDTH - RIGHT)
    y = Axis.around([y for line in lines for _, y in line.points], HEIGHT - BOTTOM, TOP)
    told = "; ".join(f"{line.name} from {number(line.points[0][1])} to {number(line.points[-1][1])}" for line in lines)
    drawing = tag(
        "svg",
        tag("title", f"{title}: {told}"),
        *axes(x, y, x_label),
        *(_drawn(line, x, y, class_=f"line{place}") for place, line in enumerate(lines, 1)),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
    )
    key = join(tag("span", line.name, class_=f"key line{place}") for place, line in enumerate(lines, 1))
    return tag("figure", tag("figcaption", tag("b", title), key if len(lines) > 1 else ""), drawing)


def axes(x: Axis, y: Axis, x_label: str) -> list[Markup]:
    """Ticks with their labels, and the name of what runs from left to right."""
    bottom, right = HEIGHT - BOTTOM, x.end
    across = [tag("line", x1=LEFT, x2=right, y1=y.at(tick), y2=y.at(tick), class_="grid") for tick in y.ticks]
    beside = [tag("text", y.label(tick), x=LEFT - 7, y=y.at(tick) + 4, text_anchor="end") for tick in y.ticks]
    below = [tag("text", x.label(tick), x=x.at(tick), y=bottom + 16, text_anchor="middle") for tick in x.ticks]
    name = tag("text", x_label, x=(LEFT + right) / 2, y=HEIGHT - 4, text_anchor="middle")
    return [*across, *beside, *below, name]


def _drawn(line: Line, x: Axis, y: Axis, *, class_: str) -> Markup:
    """A line through its points; few points are marked, as evaluations are not continuous."""
    places = [(x.at(a), y.at(b)) for a, b in line.points]
    path = tag("polyline", points=" ".join(f"{a},{b}" for a, b in places))
    dots = [tag("circle", cx=a, cy=b, r=2.5) for a, b in places] if len(places) <= 20 else []
    return tag("g", path, *dots, class_=class_)


def _thinned(points: Sequence[Point]) -> list[Point]:
    """Evenly chosen points that can be drawn, the last one always among them."""
    finite = [(x, y) for x, y in points if math.isfinite(y)]
    stride = math.ceil(len(finite) / MOST_POINTS) or 1
    return finite[::-1][::stride][::-1]
