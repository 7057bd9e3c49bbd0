"""Which rows make a batch: random order, yet rows of like length together, so that little padding is computed."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from numpy import ndarray

WINDOW_BATCHES = 24
"""Batches that are sorted by length together: more means less padding and less chance in the order."""


@dataclass(frozen=True)
class Batching:
    """Cuts rows into batches, from their lengths alone; the same seed and epoch give the same batches."""

    lengths: Int[ndarray, " rows"]
    """Tokens of each row."""
    batch_size: int
    """Most rows of a batch."""
    batch_tokens: int | None = None
    """Most tokens of a batch, padding included; a single row may be longer."""
    seed: int = 0
    is_flat: bool = False
    """Whether rows are computed one after the other, without padding, so that it does not count."""

    def epoch(self, number: int) -> list[Int[ndarray, " batch"]]:
        """Row numbers of each batch of an epoch; every row once."""
        random = np.random.default_rng((self.seed, number))
        order = random.permutation(len(self.lengths))
        window = WINDOW_BATCHES * self.batch_size
        batches = [
            batch
            for start in range(0, len(order), window)
            for batch in self.cut(self._by_length(order[start : start + window]))
        ]
        return [batches[i] for i in random.permutation(len(batches))]

    def sorted(self) -> list[Int[ndarray, " batch"]]:
        """All rows from the longest to the shortest: least padding, and memory runs out at once or never."""
        return self.cut(self._by_length(np.arange(len(self.lengths)))[::-1])

    def endless(self) -> Iterator[tuple[int, Int[ndarray, " batch"]]]:
        """Epoch's number and batch, epoch after epoch."""
        number = 0
        while True:
            for batch in self.epoch(number):
                yield number, batch
            number += 1

    def cut(self, rows: Int[ndarray, " rows"]) -> list[Int[ndarray, " batch"]]:
        """Consecutive batches of these rows, each as large as the bounds allow."""
        if self.batch_tokens is None:
            return [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]
        batches, start, longest, total = [], 0, 0, 0
        for end, row in enumerate(rows):
            length = int(self.lengths[row])
            longest, total = max(longest, length), total + length
            num_tokens = total if self.is_flat else longest * (end + 1 - start)
            if end > start and (num_tokens > self.batch_tokens or end - start == self.batch_size):
                batches.append(rows[start:end])
                start, longest, total = end, length, length
        return [*batches, rows[start:]]

    def _by_length(self, rows: Int[ndarray, " rows"]) -> Int[ndarray, " rows"]:
        return rows[np.argsort(self.lengths[rows], kind="stable")]
