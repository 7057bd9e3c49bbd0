"""What `luthier doctor` found, on the screen."""

from collections.abc import Iterable
from itertools import groupby

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from luthier.doctor import Finding


def print_findings(findings: Iterable[Finding], console: Console | None = None) -> None:
    """A table a part; what to do stands below what was found."""
    console = console or Console(highlight=False, soft_wrap=True)
    for part, group in groupby(findings, lambda finding: finding.part):
        table = Table(box=None, show_header=False, pad_edge=False)
        for finding in group:
            table.add_row(f"  {escape(finding.name)}", escape(finding.found))
            if finding.advice:
                table.add_row("", f"[bold]{escape(finding.advice)}[/]")
        console.print(f"[bold]{part}[/]")
        console.print(table)
