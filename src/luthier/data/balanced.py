"""Batches with every class in equal parts, whatever its number of rows, and no row twice in one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from luthier.data.batching import Batching

FEWEST = 2
"""Rows of a class in a batch, so that each has another one that is like it."""
Rows = Int[ndarray, " rows"]


@dataclass(frozen=True)
class Balanced(Batching):
    """Cuts rows into batches by their classes; an epoch has as many rows as there are."""

    classes: Sequence[Rows] = field(kw_only=True)
    """The rows of each class; a row may be of several."""

    def epoch(self, number: int) -> list[Int[ndarray, " batch"]]:
        """Row numbers of each batch of an epoch: rare classes come more often, common ones less."""
        random = np.random.default_rng((self.seed, number))
        draws = [_endless(rows, random) for rows in self.classes]
        order = cycle(random.permutation(len(draws)))
        at_once = min(len(draws), max(2, self.batch_size // FEWEST))
        num_batches = -(-len(self.lengths) // self.batch_size)
        return [self._batch(draws, list(islice(order, at_once))) for _ in range(num_batches)]

    def _batch(self, draws: Sequence[Iterator[int]], chosen: Sequence[int]) -> Int[ndarray, " batch"]:
        """Rows of some classes in turn, until the batch is full or all their rows are in it."""
        found, left = dict[int, None](), list(chosen)
        while left and len(found) < self.batch_size:
            for number in list(left):
                if len(found) == self.batch_size:
                    break
                some = islice(draws[number], 2 * len(self.classes[number]))  # so many hold all of them
                row = next((row for row in some if row not in found), None)
                if row is None:
                    left.remove(number)
                else:
                    found[row] = None
        rows = np.array(list(found))
        return rows[np.argsort(self.lengths[rows], kind="stable")]


def _endless(rows: Rows, random: np.random.Generator) -> Iterator[int]:
    """All of the rows in random order, again and again."""
    while True:
        yield from random.permutation(rows).tolist()
