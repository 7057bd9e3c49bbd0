"""A search on the screen: a line for what is better than all before, and at the end what it bought."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from luthier.merging.searching.space import SHARED
from luthier.merging.searching.verdict import Verdict
from luthier.report.words import interval, number

Record = Mapping[str, Any]


def show(record: Record, console: Console) -> None:
    """One record of a search."""
    if record["event"] == "plan":
        _told("search", f"{record['dimensions']} numbers, {record['of']} candidates", console)
    elif record["event"] == "candidate":
        known = "" if record["is_new"] else ", from the log"
        told = f"{record['number'] + 1} of {record['of']}: {number(record['objective'])}"
        _told("best" if record["is_best"] else "", f"{told} in {record['duration_s']:.1f} s{known}", console)
    elif record["event"] == "search":
        _conclude(record["found"], console)


def _conclude(found: Any, console: Console) -> None:
    if found.verdict is not None:
        console.print(_table(found.verdict))
    console.print()
    for model, settings in found.best.settings.items():
        _told(
            model if model != SHARED else "all", "  ".join(f"{key} {value}" for key, value in settings.items()), console
        )
    for sentence in found.conclusions:
        console.print(f"\n{sentence}", markup=False)


def _table(verdict: Verdict) -> Table:
    table = Table("task", "rows", "run", "equal weights", "searched", "difference", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for task, difference in verdict.differences.items():
        scores = (number(each[task]) for each in (verdict.own, verdict.uniform, verdict.searched))
        rows = f"{verdict.num_rows[task]:,}"
        table.add_row(task, rows, *scores, f"{number(difference.value)} {interval(difference)}")
    return table


def _told(what: str, text: str, console: Console) -> None:
    console.print(f"[bold]{what:<9}[/] ", end="")
    console.print(text, markup=False)
