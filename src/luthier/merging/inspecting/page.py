"""A look at models as one page of HTML: what to beware of, heat maps of blocks by roles, and all figures."""

from collections.abc import Callable, Sequence

from luthier.merging.inspecting.result import Inspection, Line
from luthier.merging.inspecting.shown import figures, head, share
from luthier.report.markup import Markup, join, table, tag
from luthier.report.page import of_sections
from luthier.report.words import number, percent

DEEPEST = 60
"""Per cent of colour in the deepest cell: the figure on it stays readable."""
MOST_UPRIGHT = 6
"""More columns than these fit only with their names on the side."""
NOTHING_TOLD = "Nothing that was looked at speaks against merging these."

Value = Callable[[Line], float | None]


def page(inspection: Inspection) -> str:
    """The whole page."""
    told = join(tag("p", finding) for finding in inspection.findings) or tag("p", NOTHING_TOLD)
    changes = [
        _map(f"{label}: change against the base's weights", inspection, _relative(number_), _percent)
        for number_, label in enumerate(inspection.labels)
    ]
    maps = [*changes] if len(inspection.labels) == 1 else [*_pairs(inspection), *changes]
    explained = (
        f"Signs are compared where two models at least changed a weight; what counts is the "
        f"{percent(inspection.density)} of each model's weights that changed most, which trimming keeps. "
        "Chance alone gives a half."
    )
    sections = {
        "Beware": told,
        "Where": join([*maps, tag("p", explained, class_="muted")]),
        "Blocks": _figures("block", inspection, inspection.blocks),
        "Roles": _figures("role", inspection, inspection.roles),
    }
    return of_sections(f"{', '.join(inspection.labels)} on {inspection.base}", sections)


def _pairs(inspection: Inspection) -> list[Markup]:
    of = "Cosine of what was learnt" + (", of the pair furthest apart" if len(inspection.labels) > 2 else "")
    return [
        _map("Signs that differ where it counts", inspection, lambda line: line.kept_conflicts, share, deepest=0.5),
        _map(of, inspection, lambda line: line.lowest_cosine, number, deepest=1.0),
    ]


def _relative(number_: int) -> Value:
    return lambda line: line.relative[number_]


def _percent(value: float) -> str:
    return f"{100 * value:.2g} %"


def _map(
    title: str, inspection: Inspection, value: Value, written: Callable[[float], str], *, deepest: float | None = None
) -> Markup:
    """A table of blocks by roles, the deeper coloured the larger; `deepest` is the value of the deepest colour."""
    found = {(line.block, line.role): value(line) for line in inspection.lines}
    most = deepest or max((abs(each) for each in found.values() if each is not None), default=0.0) or 1.0
    roles = [line.role for line in inspection.roles]
    rows = [
        [line.block, *(_cell(found.get((line.block, role)), most, written) for role in roles)]
        for line in inspection.blocks
    ]
    matrix = table(["", *roles], rows, class_="matrix" if len(roles) <= MOST_UPRIGHT else "matrix many")
    return join([tag("h3", title), matrix])


def _cell(value: float | None, most: float, written: Callable[[float], str]) -> Markup:
    if value is None or value != value:
        return tag("td", "·", class_="none", style="--share:0%")
    style = f"--share:{DEEPEST * min(1.0, abs(value) / most):.0f}%"
    return tag("td", written(value), class_="right" if value < 0 else None, style=style)


def _figures(what: str, inspection: Inspection, lines: Sequence[Line]) -> Markup:
    return table(head(what, inspection), [figures(line) for line in (*lines, inspection.whole)])
