"""HTML and SVG out of Python: text that is not marked as markup is escaped, so nothing foreign becomes active."""

import html
import re
from collections.abc import Iterable, Sequence

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
"""Control characters and lone surrogates: neither XML nor UTF-8 has them."""


class Markup(str):
    """Text that is markup already."""


def escaped(content: object) -> str:
    """Anything as markup; only what is Markup stays as it is."""
    return content if isinstance(content, Markup) else html.escape(_UNPRINTABLE.sub("\ufffd", str(content)))


def join(parts: Iterable[object]) -> Markup:
    """Pieces in a row."""
    return Markup("".join(map(escaped, parts)))


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """An element; `class_` is written class, `text_anchor` text-anchor; None leaves an attribute out."""
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    written = "".join(f' {key}="{escaped(value)}"' for key, value in given.items())
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def table(head: Sequence[object], rows: Iterable[Sequence[object]], *, class_: str | None = None) -> Markup:
    """A table whose rows begin with their name; it scrolls by itself where the screen is narrow."""
    columns = tag("tr", *(tag("th", cell, scope="col") for cell in head))
    lines = (
        tag("tr", tag("th", first, scope="row"), *(cell if _is_cell(cell) else tag("td", cell) for cell in rest))
        for first, *rest in rows
    )
    whole = tag("table", tag("thead", columns), tag("tbody", *lines), class_=class_)
    return tag("div", whole, class_="scroll", tabindex=0)


def _is_cell(content: object) -> bool:
    return isinstance(content, Markup) and content.startswith("<td")
