"""A comparison on the screen."""

from rich.console import Console
from rich.table import Table

from luthier.comparing.figures import HEAD, figures
from luthier.run import Record

WIDE = 132
"""Characters of a row: a line that the screen breaks is easier to read than cells that are."""


def show(record: Record, console: Console) -> None:
    """One record of a comparison."""
    if record["event"] == "variant":
        console.print(f"\n[bold]{record['number']} of {record['of']}[/]    {record['name']}")
    elif record["event"] == "refused":
        console.print(f"[bold]refused[/]   {record['name']}: ", end="")
        console.print(record["reason"], markup=False)
    elif record["event"] == "compared":
        _conclude(record, console)


def _conclude(record: Record, console: Console) -> None:
    ranking = record["ranking"]
    table = Table(*HEAD, title=f"\n{ranking[0].metric}", title_justify="left", box=None, pad_edge=False)
    for each in ranking:
        table.add_row(*figures(each))
    Console(file=console.file, highlight=False, width=max(WIDE, console.width)).print(table)
    for sentence in record["conclusions"]:
        console.print(f"\n{sentence}", markup=False)
    for name, reason in record["refused"].items():
        console.print(f"\nNot compared: {name}: {reason}", markup=False)
