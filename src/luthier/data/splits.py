"""From sources to splits: rows under the task's column names, checked, without repeats, cut where asked."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow
from datasets import Dataset

from luthier.data.columns import Column, match
from luthier.data.read import Placed, read
from luthier.data.source import DataSource
from luthier.errors import DataError

SHOWN_PROBLEMS = 10


@dataclass(frozen=True)
class Splits:
    """The rows of a run, and what was done to get them."""

    train: Dataset
    validation: Dataset | None
    test: Dataset | None
    notes: tuple[str, ...] = field(default=())
    """What a user should know: columns chosen, rows skipped, repeats dropped, leaks."""

    def named(self) -> dict[str, Dataset]:
        """The splits that are there, by name."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: rows for name, rows in splits.items() if rows is not None}


def load(data: DataSource, columns: Sequence[Column], *, seed: int) -> Splits:
    """Read every split; shares are cut from the training rows, the test share first.

    Raises DataError where a source, a column or (with `bad_rows: fail`) a row cannot be used.
    """
    notes: list[str] = []
    train = read_rows(data, data.train, "train", columns, notes)
    cut: dict[str, Dataset | None] = {}
    for offset, (name, source) in enumerate((("test", data.test), ("validation", data.validation))):
        if isinstance(source, float):
            train, cut[name] = _cut(train, source, seed=seed + offset, where=f"data.{name}")
        else:
            cut[name] = None if source is None else read_rows(data, source, name, columns, notes)
    splits = Splits(train, cut["validation"], cut["test"])
    return Splits(splits.train, splits.validation, splits.test, (*notes, *_leaks(splits)))


def read_rows(data: DataSource, source: str, split: str, columns: Sequence[Column], notes: list[str]) -> Dataset:
    """One source as a table with the task's columns; what was noticed is added to the notes."""
    where = f"data.{split}"
    placed = read(source, split, encoding=data.encoding, where=where)
    good, problems = _sift(placed, columns, data, where, notes)
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:SHOWN_PROBLEMS])
        more = len(problems) - SHOWN_PROBLEMS
        listed = shown + (f"\n  and {more} more" if more > 0 else "")
        if data.bad_rows == "fail":
            raise DataError(
                f"{where}: {len(problems)} of {len(good) + len(problems)} rows cannot be used:\n{listed}\n"
                "Mend them, or leave them out with data.bad_rows=skip"
            )
        notes.append(f"{split}: {len(problems)} of {len(good) + len(problems)} rows skipped:\n{listed}")
    if not good:
        raise DataError(f"{where}: {source} holds no rows{' that can be used' if problems else ''}")
    kept = list({_key(row): row for row in good}.values())
    if data.duplicates == "drop" and len(kept) < len(good):
        notes.append(f"{split}: {len(good) - len(kept)} of {len(good)} rows repeat another one and were dropped")
        good = kept
    try:
        return Dataset.from_list(good)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as error:
        raise DataError(
            f"{where}: values of one column must be alike, all text, all numbers or all lists: {error}"
        ) from error


def _sift(
    placed: Iterable[Placed], columns: Sequence[Column], data: DataSource, where: str, notes: list[str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Usable rows, and the problems of the others."""
    by_name = {column.name: column for column in columns}
    chosen: dict[str, str] | None = None
    good: list[dict[str, Any]] = []
    problems: list[str] = []
    for place, row in placed:
        if isinstance(row, str):
            problems.append(f"{place}: {row}")
            continue
        if chosen is None:
            chosen = match(row, columns, data.columns, where=where)
            renamed = ", ".join(f"{theirs} as {ours}" for ours, theirs in chosen.items() if ours != theirs)
            if renamed:
                notes.append(f"{where.removeprefix('data.')}: read {renamed}")
        values = {ours: row.get(theirs) for ours, theirs in chosen.items()}
        faults = [fault for name, value in values.items() if (fault := by_name[name].problem(value))]
        if faults:
            problems.append(f"{place}: {'; '.join(faults)}")
        else:
            good.append(values)
    return good, problems


def _cut(rows: Dataset, share: float, *, seed: int, where: str) -> tuple[Dataset, Dataset]:
    """Cut a seeded share off, with each label in its proportion where every label has two rows or more."""
    from sklearn.model_selection import train_test_split

    num_cut = round(share * len(rows))
    if not 0 < num_cut < len(rows):
        raise DataError(f"{where}: {share:g} of {len(rows)} rows leaves a split empty; give more rows or a file")
    labels = rows["label"] if "label" in rows.column_names else None
    strata = _strata(labels, num_cut)
    kept, cut = train_test_split(np.arange(len(rows)), test_size=num_cut, random_state=seed, stratify=strata)
    return rows.select(sorted(kept)), rows.select(sorted(cut))


def _strata(labels: Sequence[Any] | None, num_cut: int) -> list[Any] | None:
    """The labels, where a stratified cut is possible: each kind at least twice, and room for all on both sides."""
    if labels is None or isinstance(labels[0], list):
        return None
    counts: dict[Any, int] = {}
    for label in labels:
        counts[label] = counts.get(label, 0) + 1
    room = min(num_cut, len(labels) - num_cut)
    return list(labels) if min(counts.values()) >= 2 and len(counts) <= room else None


def _leaks(splits: Splits) -> list[str]:
    """Texts of the validation or test rows that training has too."""
    notes = []
    text = [name for name in splits.train.column_names if name != "label"]
    seen = set(zip(*(splits.train[name] for name in text), strict=True))
    for name, rows in splits.named().items():
        if name != "train" and all(column in rows.column_names for column in text):
            leaked = sum(row in seen for row in zip(*(rows[column] for column in text), strict=True))
            if leaked:
                notes.append(f"{name}: {leaked} of {len(rows)} rows have a text that training has too (a leak)")
    return notes


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(tuple(value) if isinstance(value, list) else value for value in row.values())
