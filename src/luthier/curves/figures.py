"""A point's figures in words, under the heads that screen and page share."""

from luthier.curves.points import Point
from luthier.curves.words import with_interval
from luthier.report.words import duration, number

HEAD = ("examples per class", "score [95 % interval]", "lowest", "highest", "splits", "rows", "steps", "trained in")


def figures(point: Point) -> list[str]:
    """A row of the table."""
    scores = point.scores.values()
    return [
        f"{point.size:,}",
        with_interval(point.score),
        number(min(scores)),
        number(max(scores)),
        f"{len(scores)}",
        f"{point.num_rows:,.0f}",
        f"{point.num_steps:,.0f}",
        duration(point.duration_s),
    ]
