"""Few rows of each label, as if no more had been labelled; under one seed, the same rows are drawn each time.

Rows are taken in one shuffled order, for the rarest label first, until each label has its number. So where rows have
one label each, what is drawn for a small number is part of what is drawn for a larger one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset

from luthier.data.cut import LABEL, Rows
from luthier.data.spool import column
from luthier.errors import RecipeError

NO_LABEL = ""
"""What rows without any label are counted under, as several labels a row allow them; no label is empty."""
SHOWN = 20
"""Labels that a note names."""

LabelsOf = Callable[[Any], Sequence[str]]
"""The labels of a row, out of its field."""


def one_label(value: Any) -> list[str]:
    """The label of a field that holds a single one."""
    return [str(value)]


@dataclass(frozen=True)
class Few:
    """What was drawn."""

    rows: Rows
    notes: tuple[str, ...]
    """How many rows of how many, and the labels that have too few."""


def few(rows: Dataset, num_each: int, *, seed: int, labels_of: LabelsOf) -> Few:
    """So many rows of each label, or all it has; with several labels a row, a common label may get more of them.

    Raises RecipeError where rows have no labels.
    """
    owners = owners_of(rows, labels_of)
    places = np.random.default_rng(seed).permutation(len(rows))
    chosen = np.zeros(len(rows), dtype=bool)
    for numbers in owners.values():
        lacking = num_each - np.count_nonzero(chosen[numbers])
        free = numbers[~chosen[numbers]]
        chosen[free[np.argsort(places[free])][: max(0, lacking)]] = True
    drawn = np.flatnonzero(chosen)
    has_more = any(np.count_nonzero(chosen[numbers]) > num_each for numbers in owners.values())
    told = f"{num_each}{' or more' if has_more else ''} of each label"
    note = f"train: {len(drawn):,} of {len(rows):,} rows are learnt from, {told} (data.n_per_class)"
    return Few(drawn, (note, *_of_rare({label: len(numbers) for label, numbers in owners.items()}, num_each)))


def owners_of(rows: Dataset, labels_of: LabelsOf) -> dict[str, Rows]:
    """The numbers of the rows that have each label, the rarest label first.

    Raises RecipeError where rows have no labels.
    """
    if LABEL not in rows.column_names:
        raise RecipeError("data.n_per_class: the rows of this task have no labels to be drawn by; leave it out")
    found: dict[str, list[int]] = {}
    for number, value in enumerate(column(rows, LABEL)):
        for label in dict.fromkeys(labels_of(value)) or (NO_LABEL,):
            found.setdefault(label, []).append(number)
    in_order = sorted(found, key=lambda label: (len(found[label]), label))
    return {label: np.array(found[label]) for label in in_order}


def _of_rare(counts: Mapping[str, int], num_each: int) -> list[str]:
    """A note on labels with fewer rows than were asked for."""
    rare = [f"{label or 'no label'} ({count})" for label, count in counts.items() if count < num_each]
    if not rare:
        return []
    more = f" and {len(rare) - SHOWN} more" if len(rare) > SHOWN else ""
    return [f"train: labels with fewer than {num_each} rows keep all they have: {', '.join(rare[:SHOWN])}{more}"]
