"""A curve on the screen."""

from rich.console import Console
from rich.table import Table

from luthier.curves.figures import HEAD, figures
from luthier.run import Record

WIDE = 110
"""Characters of a row of the table, which is not to be broken."""


def show(record: Record, console: Console) -> None:
    """One record of a curve."""
    if record["event"] == "plan":
        for note in record["notes"]:
            _told("note", note, console)
        sizes = ", ".join(map(str, record["sizes"]))
        _told("curve", f"{sizes} examples per class, {record['splits']} splits: {record['of']} runs", console)
    elif record["event"] == "run":
        console.print(f"\n[bold]{record['number']} of {record['of']}[/]    {record['name']}")
    elif record["event"] == "refused":
        _told("refused", f"{record['name']}: {record['reason']}", console)
    elif record["event"] == "curve":
        _conclude(record, console)


def _conclude(record: Record, console: Console) -> None:
    table = Table(*HEAD, title=f"\n{record['metric']}", title_justify="left", box=None, pad_edge=False)
    for point in record["found"]:
        table.add_row(*figures(point))
    Console(file=console.file, highlight=False, width=max(WIDE, console.width)).print(table)
    for sentence in record["conclusions"]:
        console.print(f"\n{sentence}", markup=False)
    for name, reason in record["refused"].items():
        console.print(f"\nNot run: {name}: {reason}", markup=False)


def _told(what: str, text: str, console: Console) -> None:
    console.print(f"[bold]{what:<9}[/] ", end="")
    console.print(text, markup=False)
