"""Rows that are worth a label, on the screen."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from luthier.report.words import number
from luthier.suggesting import Suggestion

LONGEST_TEXT = 90
"""Characters of a row's text; a file holds it whole."""


def print_suggestions(suggestions: Sequence[Suggestion], console: Console | None = None) -> None:
    """A line a row, the one that is most worth it first."""
    table = Table("", "text", "suggested", "margin", box=None, pad_edge=False)
    for place, each in enumerate(suggestions, 1):
        answer = each.suggested if isinstance(each.suggested, str) else ", ".join(each.suggested) or "none"
        table.add_row(str(place), escape(_short(" | ".join(each.texts.values()))), escape(answer), number(each.margin))
    (console or Console(highlight=False)).print(table)


def _short(text: str) -> str:
    """On one line, with nothing in it that would move a terminal's cursor."""
    plain = "".join(character if character.isprintable() else " " for character in " ".join(text.split()))
    return plain if len(plain) <= LONGEST_TEXT else f"{plain[: LONGEST_TEXT - 3]}..."
