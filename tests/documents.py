"""Documents that tests write: what they say was tried in the very run that holds them to it."""

from collections.abc import Sequence
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def hold(name: str, text: str) -> None:
    """A document in docs/ says this; where it does not, it is written anew and the test fails, for somebody to look."""
    path = DOCS / name
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    raise AssertionError(f"docs/{name} told something else; it has been written anew: read and commit it")
