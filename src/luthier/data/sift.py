"""Which rows of a source can be used: under the task's names, checked, without repeats; the others counted and told."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain, islice
from pathlib import Path
from typing import Any

from datasets import Dataset

from luthier.data.columns import BadRow, Column, Layout, choose, fits, kind_of
from luthier.data.formats import Placed, Row
from luthier.data.source import DataSource
from luthier.data.spool import Spool

PLACE = "place"
"""The column that says where a row stood; no task reads it."""
SHOWN_PROBLEMS = 10
HEAD = 100
"""First rows whose columns are looked at together: a row of JSON may lack one."""


@dataclass
class Sifted:
    """What came of a source's rows; every row is counted once."""

    rows: Dataset | None = None
    """Those that can be used, each with its place; None where there is none."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Task's column: file's column."""
    num_good: int = 0
    num_bad: int = 0
    num_repeats: int = 0
    """Rows that repeat a good one, and were left out."""
    problems: list[str] = field(default_factory=list)
    """What is wrong with the first bad ones, each with its place."""

    @property
    def num_rows(self) -> int:
        return self.num_good + self.num_bad + self.num_repeats

    def add_bad(self, place: str, problem: str) -> None:
        """Count a row that cannot be used."""
        self.num_bad += 1
        if len(self.problems) < SHOWN_PROBLEMS:
            self.problems.append(f"{place}: {problem}")

    @property
    def listed(self) -> str:
        """The bad rows, a line each."""
        more = self.num_bad - len(self.problems)
        return "\n".join(f"  {line}" for line in (*self.problems, *([f"and {more} more"] if more else [])))


def sift(
    placed: Iterable[Placed], layouts: Sequence[Layout], data: DataSource, *, where: str, folder: Path | None = None
) -> Sifted:
    """Read rows to their end; what is held in memory is a digest of each, and what the spool holds.

    Files that rows name lie in `folder`, or below it. Raises DataError where a column is missing.
    """
    placed = iter(placed)
    head = list(islice(placed, HEAD))
    names = list(dict.fromkeys(name for _, row in head if isinstance(row, dict) for name in row))
    sifted, spool, judge, seen = Sifted(), Spool(), _Judge(), set[bytes]()
    for place, row in chain(head, placed):
        if isinstance(row, str):
            sifted.add_bad(place, row)
            continue
        if not sifted.columns:
            layout, sifted.columns = choose(names or row, layouts, data.columns, where=where)
        values = {ours: row.get(theirs) for ours, theirs in sifted.columns.items()}
        try:
            values = judge.judged(values, layout, place, folder)
        except BadRow as problem:
            sifted.add_bad(place, str(problem))
            continue
        if data.duplicates == "drop":
            key = digest(values.values())
            if key in seen:
                sifted.num_repeats += 1
                continue
            seen.add(key)
        sifted.num_good += 1
        spool.add({**values, PLACE: place})
    sifted.rows = spool.finish() if sifted.num_good else None
    return sifted


class _Judge:
    """Tells what is wrong with a row, by its columns and by the rows before it."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[str, str]] = {}

    def judged(self, values: Row, layout: Layout, place: str, folder: Path | None) -> Row:
        """The row as its task keeps it.

        Raises BadRow that says what is wrong.
        """
        columns = {column.name: column for column in layout.columns}
        faults = [fault for name, value in values.items() if (fault := columns[name].problem(value))]
        faults = faults or self._of_another_kind(values, columns, place)
        if faults:
            raise BadRow("; ".join(faults))
        return layout.read(values, folder)

    def _of_another_kind(self, values: Row, columns: Mapping[str, Column], place: str) -> list[str]:
        """Values that are not of their column's kind: the one of its first good row."""
        kinds = {name: kind_of(value) for name, value in values.items() if columns[name].holds != "anything"}
        faults = []
        for name, kind in kinds.items():
            known, since = self._kinds.get(name, (kind, place))
            if not fits(kind, known):
                faults.append(f"{name} is {kind}, but in {since} it is {known}; values of one column must be alike")
        if not faults:
            for name, kind in kinds.items():
                if self._kinds.get(name, ("a list", ""))[0] == "a list":
                    self._kinds[name] = kind, place
        return faults


def digest(values: Iterable[Any]) -> bytes:
    """16 bytes that stand for a row: of 10^9 rows, two differing ones share them with a chance of 10^-21."""
    return blake2b(repr(list(values)).encode("utf-8", "surrogatepass"), digest_size=16).digest()
