"""Columns: what a task needs in a row, and which of a file's columns serves."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from luthier.errors import DataError, did_you_mean


@dataclass(frozen=True)
class Column:
    """A column a task reads, by its own name or by one that people use."""

    name: str
    aliases: tuple[str, ...] = ()
    required: bool = True
    text: bool = True
    """Whether its values must be text that is not blank."""
    target: bool = False
    """Whether it is what the model is to find: not needed where it only predicts."""

    def problem(self, value: object) -> str | None:
        """What is wrong with a value, in words; None where nothing is."""
        if value is None or value == "":
            return f"{self.name} is empty"
        if isinstance(value, float) and math.isnan(value):
            return f"{self.name} is no number"
        if not self.text and not _is_plain(value):
            return f"{self.name} is {value!r}; it must be text, a number, or a list of them"
        if self.text and not isinstance(value, str):
            return f"{self.name} is {value!r}, which is no text"
        if self.text and not str(value).strip():
            return f"{self.name} is blank"
        return None


def _is_plain(value: object) -> bool:
    values = value if isinstance(value, list) else [value]
    return all(isinstance(each, str | int | float) for each in values)


def match(found: Iterable[str], wanted: Sequence[Column], given: Mapping[str, str], *, where: str) -> dict[str, str]:
    """Task's column -> file's column: what the recipe says, then the same name, then a usual one.

    Raises DataError where a required column is not there, or the recipe names one that is not.
    """
    found = list(found)
    chosen: dict[str, str] = {}
    for name, theirs in given.items():
        if name not in {w.name for w in wanted}:
            known = [w.name for w in wanted]
            near = did_you_mean(name, known) or f"; it reads {', '.join(known)}"
            raise DataError(f"data.columns: this task reads no column {name}{near}")
        if theirs not in found:
            near = did_you_mean(theirs, found) or f"; it has {_listed(found)}"
            raise DataError(f"data.columns.{name}: {where} has no column {theirs}{near}")
        chosen[name] = theirs
    for column in wanted:
        if column.name in chosen:
            continue
        usable = [f for f in found if f not in chosen.values()]
        for name in (column.name, *column.aliases):
            hits = [f for f in usable if f == name] or [f for f in usable if f.lower() == name.lower()]
            if hits:
                chosen[column.name] = hits[0]
                break
        else:
            if column.required:
                raise DataError(
                    f"{where}: no column for {column.name}; it has {_listed(found)}. "
                    f"Say which one it is: data.columns.{column.name}=NAME"
                )
    return chosen


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:12])
    return shown + ", ..." if len(names) > 12 else shown or "none"
