"""Long rows in windows that overlap: each word belongs to one of them, the one that shows most around it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Window(NamedTuple):
    """A stretch of a row's sub-words, and the words whose tags it tells."""

    start: int
    end: int
    """Sub-words, the end not included."""
    first_word: int
    end_word: int
    """Words that belong to it, the end not included."""


def windows(sizes: Sequence[int], capacity: int, stride: int) -> list[Window]:
    """Windows of at most `capacity` sub-words, neighbours sharing at least `stride`, for words of these sizes.

    Each begins with a word. A word has at most capacity - stride sub-words, and 0 where the tokenizer drops it.
    """
    ends = np.cumsum(sizes)
    starts = ends - sizes
    num_subwords = int(ends[-1])
    bounds = _bounds(starts, num_subwords, capacity, stride)
    if len(bounds) == 1:
        return [Window(*bounds[0], 0, len(sizes))]
    owners, owner = [], 0
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        while owner + 1 < len(bounds) and _room(start, end, bounds[owner + 1], num_subwords) > _room(
            start, end, bounds[owner], num_subwords
        ):
            owner += 1
        owners.append(owner)
    edges = np.searchsorted(owners, np.arange(len(bounds) + 1)).tolist()
    made = zip(bounds, edges[:-1], edges[1:], strict=True)
    return [Window(*bound, first, end) for bound, first, end in made if first < end]


def _bounds(starts: np.ndarray, num_subwords: int, capacity: int, stride: int) -> list[tuple[int, int]]:
    """Where each window begins and ends."""
    bounds, start = [(0, min(capacity, num_subwords))], 0
    while bounds[-1][1] < num_subwords:
        start = int(starts[np.searchsorted(starts, start + capacity - stride, side="right") - 1])
        bounds.append((start, min(start + capacity, num_subwords)))
    return bounds


def _room(start: int, end: int, bound: tuple[int, int], num_subwords: int) -> float:
    """Sub-words around a word in a window, on the side with fewer; where the row itself ends, none are missing."""
    before = start - bound[0] if bound[0] > 0 else np.inf
    after = bound[1] - end if bound[1] < num_subwords else np.inf
    return float(min(before, after))
