"""Columns: what a task needs in a row, and which of a file's columns serves."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from luthier.data.formats import Row
from luthier.errors import DataError, did_you_mean

LONGEST_FIELD = 1_000_000
"""Characters of a text, a long novel's: more is almost surely a quote or a bracket that was never closed."""
LARGEST_WHOLE = 2**53
"""Beyond it a number with a fraction can no longer tell whole numbers apart, and columns may hold both."""
HALF = re.compile("[\ud800-\udfff]")
"""Half of a pair of UTF-16: JSON's escapes can write it, no encoding can."""


@dataclass(frozen=True)
class Column:
    """A column a task reads, by its own name or by one that people use."""

    name: str
    aliases: tuple[str, ...] = ()
    required: bool = True
    holds: Literal["text", "label", "anything"] = "text"
    """Text that is not blank; text, a number or a list of them; or what only its task can judge."""
    target: bool = False
    """Whether it is what the model is to find: not needed where it only predicts."""

    def problem(self, value: object) -> str | None:
        """What is wrong with a value, in words; None where nothing is."""
        if value is None or value == "":
            return f"{self.name} is empty" if self.required or self.holds != "anything" else None
        if self.holds == "anything":
            return None
        if isinstance(value, str):
            fault = fault_of_text(value)
        elif self.holds == "text":
            fault = f"is {short(value)}, which is no text"
        else:
            fault = _fault_of_plain(value)
        return fault and f"{self.name} {fault}"


class BadRow(Exception):
    """A row that cannot be used; the message says why, without the place."""


def _as_it_is(row: Row, folder: Path | None) -> Row:
    return row


@dataclass(frozen=True)
class Layout:
    """One of the forms in which a task reads its rows: which columns, and what is made of them."""

    columns: tuple[Column, ...]
    read: Callable[[Row, Path | None], Row] = _as_it_is
    """A row under the layout's names, and the folder of its file -> the row as the task keeps it. Raises BadRow.

    A row that was read may be read again, and stays what it is.
    """

    def without_targets(self) -> Self:
        """What a row needs that is only to be answered."""
        return replace(self, columns=tuple(column for column in self.columns if not column.target))


def fault_of_text(value: str) -> str | None:
    """What is wrong with a text, in words; None where nothing is."""
    if len(value) > LONGEST_FIELD:
        return f"has {len(value):,} characters; a field has {LONGEST_FIELD:,} at most"
    if value.isspace():
        return "is blank"
    if "\0" in value:
        return f"has a NUL character at {value.index(chr(0))}; the file is damaged, or of another encoding"
    if not value.isascii() and (half := HALF.search(value)):
        return f"has half a character (\\u{ord(half.group()):04x}) at {half.start()}"
    return None


def _fault_of_plain(value: object) -> str | None:
    """What is wrong with a number, a truth value or a list of texts or numbers."""
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(each, str | int | float) for each in values):
        return f"is {short(value)}; it must be text, a number, or a list of them"
    for each in values:
        if isinstance(each, str) and (fault := "is empty" if not each else fault_of_text(each)):
            return f"is {short(value)}: a text in it {fault}"
        if isinstance(each, float) and not math.isfinite(each):
            return f"is {short(value)}, which is no finite number"
        if isinstance(each, int) and abs(each) > LARGEST_WHOLE:
            return f"is {short(value)}, beyond what a number holds exactly; write it as text"
    if len({kind_of(each) for each in values}) > 1:
        return f"is {short(value)}: its parts must be alike, all text or all numbers"
    return None


def kind_of(value: object) -> str:
    """Text, a number, a truth value, or a list of them: values of one column must be of one kind."""
    if isinstance(value, list):
        return f"a list of {_PLURAL[kind_of(value[0])]}" if value else "a list"
    if isinstance(value, str):
        return "text"
    return "a truth value" if isinstance(value, bool) else "a number"


def fits(kind: str, other: str) -> bool:
    """Whether values of two kinds may stand in one column; an empty list fits every list."""
    return kind == other or (kind.startswith("a list") and other.startswith("a list") and "a list" in (kind, other))


_PLURAL = {"text": "text", "a number": "numbers", "a truth value": "truth values"}


def short(value: object) -> str:
    """A value as a message shows it."""
    written = repr(value)
    return written if len(written) <= 60 else f"{written[:57]}..."


def choose(
    found: Iterable[str], layouts: Sequence[Layout], given: Mapping[str, str], *, where: str
) -> tuple[Layout, dict[str, str]]:
    """The first layout that the columns of a file serve, and for each of its columns the file's.

    Raises DataError where none is, or the recipe names a column that is not there.
    """
    found = list(found)
    _require_known(found, layouts, given, where)
    for layout in layouts:
        chosen = _match(found, layout, given)
        is_whole = all(column.name in chosen for column in layout.columns if column.required)
        if is_whole and set(given) <= chosen.keys():
            return layout, chosen
    if len(layouts) == 1:
        missing = [c.name for c in layouts[0].columns if c.required and c.name not in _match(found, layouts[0], given)]
        raise DataError(
            f"{where}: no column for {missing[0]}; it has {_listed(found)}. "
            f"Say which one it is: data.columns.{missing[0]}=NAME"
        )
    needed = "; ".join(", ".join(c.name for c in layout.columns if c.required) for layout in layouts)
    raise DataError(
        f"{where}: the columns {_listed(found)} are none of the layouts that this task reads: {needed}. "
        "Say which column is which: data.columns.NAME=THEIRS"
    )


def _require_known(found: Sequence[str], layouts: Sequence[Layout], given: Mapping[str, str], where: str) -> None:
    known = list(dict.fromkeys(column.name for layout in layouts for column in layout.columns))
    for name, theirs in given.items():
        if name not in known:
            near = did_you_mean(name, known) or f"; it reads {', '.join(known)}"
            raise DataError(f"data.columns: this task reads no column {name}{near}")
        if theirs not in found:
            near = did_you_mean(theirs, found) or f"; it has {_listed(found)}"
            raise DataError(f"data.columns.{name}: {where} has no column {theirs}{near}")


def _match(found: Sequence[str], layout: Layout, given: Mapping[str, str]) -> dict[str, str]:
    """Task's column -> file's column: what the recipe says, then the same name, then a usual one."""
    names = {column.name for column in layout.columns}
    chosen = {name: theirs for name, theirs in given.items() if name in names}
    for column in layout.columns:
        if column.name in chosen:
            continue
        usable = [f for f in found if f not in chosen.values()]
        for name in (column.name, *column.aliases):
            hits = [f for f in usable if f == name] or [f for f in usable if f.lower() == name.lower()]
            if hits:
                chosen[column.name] = hits[0]
                break
    return chosen


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(name[:40] for name in names[:12])
    return shown + ", ..." if len(names) > 12 else shown or "none"
