"""Shares cut from a table: seeded, each label in its proportion, and no label all on the side that is not learnt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow
from datasets import Dataset
from jaxtyping import Bool, Int
from numpy import ndarray
from pyarrow import compute

from luthier.errors import DataError

LABEL = "label"
FEW = 0.1
"""Share of the rows up to which those of too rare labels are set aside, to be learnt; of more, a share is cut too."""

Rows = Int[ndarray, " rows"]
"""Rows of rows, in rising order."""


def cut(rows: Dataset, share: float, *, seed: int, where: str) -> tuple[Rows, Rows]:
    """The numbers of the rows that are kept, and of a share that is cut off.

    Raises DataError where one of both would be empty.
    """
    num_cut = round(share * len(rows))
    if not 0 < num_cut < len(rows):
        raise DataError(f"{where}: {share:g} of {len(rows)} rows leaves a split empty; give more rows or a file")
    labels = _labels(rows)
    if labels is None:
        return _split(np.arange(len(rows)), num_cut, None, seed)
    strata, candidates = _strata(labels, num_cut)
    kept, cut_off = _split(candidates, num_cut, strata, seed)
    kept = np.concatenate([kept, np.setdiff1d(np.arange(len(rows)), candidates)])
    return _with_every_label(labels, kept, cut_off)


def _split(numbers: Rows, num_cut: int, strata: Rows | None, seed: int) -> tuple[Rows, Rows]:
    from sklearn.model_selection import train_test_split

    kept, cut_off = train_test_split(numbers, test_size=num_cut, random_state=seed, stratify=strata)
    return np.sort(kept), np.sort(cut_off)


@dataclass(frozen=True)
class _Labels:
    """Every row's labels as numbers."""

    numbers: Int[ndarray, " labels"]
    """Of all rows, one row behind the other."""
    starts: Int[ndarray, " rows_and_end"]
    """Where each row's begin."""
    single: bool
    """Whether every row has exactly one."""

    def of(self, row: int) -> Int[ndarray, " labels"]:
        """The labels of a row."""
        return self.numbers[self.starts[row] : self.starts[row + 1]]

    def counts(self, rows: Rows) -> Int[ndarray, " labels"]:
        """How many of some rows have each label."""
        chosen = np.zeros(len(self.starts) - 1, dtype=bool)
        chosen[rows] = True
        return np.bincount(self.numbers[np.repeat(chosen, np.diff(self.starts))], minlength=self.numbers.max() + 1)

    def rows_with(self, wanted: Bool[ndarray, " labels"]) -> Rows:
        """The rows that have any of the labels that are wanted."""
        owners = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        return np.unique(owners[wanted[self.numbers]])


def _labels(rows: Dataset) -> _Labels | None:
    """None where there are none, or they are measures, of which each may be another one."""
    if LABEL not in rows.column_names:
        return None
    values = rows.select_columns([LABEL]).with_format("arrow")[:].column(LABEL).combine_chunks()
    if isinstance(values, pyarrow.ChunkedArray):  # what combine_chunks gives depends on the version of Arrow
        values = pyarrow.concat_arrays(values.chunks)
    single = not pyarrow.types.is_list(values.type)
    lengths = np.ones(len(values), dtype=np.int64) if single else compute.list_value_length(values).to_numpy()
    coded = (values if single else compute.list_flatten(values)).dictionary_encode()
    known = coded.dictionary.to_pylist()
    numbers = _in_order(known)[coded.indices.to_numpy(zero_copy_only=False)]
    if not known or (_are_measures(known) and np.bincount(numbers).min() < 2):
        return None
    return _Labels(numbers, np.concatenate([[0], np.cumsum(lengths)]), single)


def _are_measures(values: Sequence[Any]) -> bool:
    """Whether all are numbers, as such or as text, and some have a fraction."""
    try:
        return any(not float(value).is_integer() for value in values)
    except ValueError:
        return False


def _in_order(values: Sequence[Any]) -> Rows:
    """The place of each value in sorted order."""
    places = np.empty(len(values), dtype=np.int64)
    places[sorted(range(len(values)), key=values.__getitem__)] = np.arange(len(values))
    return places


def _strata(labels: _Labels, num_cut: int) -> tuple[Rows | None, Rows]:
    """The labels of the rows that may be cut off, and these rows' numbers; no labels where strata are not possible.

    Possible is a cut with each label at least twice, and room for all labels on both sides.
    """
    num_rows = len(labels.starts) - 1
    if labels.single:
        counts = np.bincount(labels.numbers)
        common = np.flatnonzero(counts[labels.numbers] >= 2)
        room = min(num_cut, len(common) - num_cut)
        if num_rows - len(common) <= FEW * num_rows and np.count_nonzero(counts >= 2) <= room:
            return labels.numbers[common], common
    return None, np.arange(num_rows)


def _with_every_label(labels: _Labels, kept: Rows, cut_off: Rows) -> tuple[Rows, Rows]:
    """Swap rows until each label has one that is kept, as far as there are rows to swap with."""
    counts = labels.counts(kept)
    is_cut = np.zeros(len(labels.starts) - 1, dtype=bool)
    is_cut[cut_off] = True
    spare = iter(kept)
    for row in labels.rows_with(counts == 0):
        if counts[labels.of(row)].all():
            continue  # a row before it had the same label
        other = next((each for each in spare if (counts[labels.of(each)] >= 2).all()), None)
        if other is None:
            break
        is_cut[[row, other]] = False, True
        np.add.at(counts, labels.of(row), 1)
        np.subtract.at(counts, labels.of(other), 1)
    return np.flatnonzero(~is_cut), np.flatnonzero(is_cut)
