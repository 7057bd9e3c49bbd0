"""A look at models on the screen: a line for each block and each role, and what to beware of."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from luthier.merging.inspecting.result import Inspection, Line
from luthier.report.words import MISSING, number, percent

WIDE = 120
"""Characters of a row of the table, which is not to be broken."""


def show(inspection: Inspection, console: Console) -> None:
    """The tables, then the findings."""
    wide = Console(file=console.file, highlight=False, width=max(WIDE, console.width))
    for what, lines in (("block", inspection.blocks), ("role", inspection.roles)):
        wide.print(_table(what, inspection, lines))
        wide.print()
    for finding in inspection.findings:
        console.print("[bold]beware[/]   ", end="")
        console.print(finding, markup=False)


def head(what: str, inspection: Inspection) -> list[str]:
    """The names of the columns."""
    each = " / ".join(inspection.labels)
    kept = percent(inspection.density)
    return [what, f"change {each}", "cosine", "signs differ", f"in the top {kept}", f"trimmed {each}"]


def figures(line: Line) -> list[str]:
    """The cells of a line, under these names."""
    return [
        line.name,
        _each(line.relative),
        MISSING if line.lowest_cosine is None else number(line.lowest_cosine),
        share(line.conflicts),
        share(line.kept_conflicts),
        _each(line.trimmed),
    ]


def share(value: float | None) -> str:
    """A share in whole hundredths."""
    return MISSING if value is None else f"{100 * value:.0f} %"


def _table(what: str, inspection: Inspection, lines: Sequence[Line]) -> Table:
    table = Table(*head(what, inspection), box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for line in (*lines, inspection.whole):
        table.add_row(*figures(line))
    return table


def _each(values: Iterable[float | None]) -> str:
    return " / ".join(MISSING if value is None else f"{100 * value:.3g} %" for value in values)
