"""The pairs of the setfit library (1.2), in its order: for whoever must repeat what it does, and as an oracle.

All pairs of sentences, a sentence with itself too, in one fixed random order; those of one label and those of two take
turns, the fewer ones repeated until both are equally many; then all are shuffled under the seed. The number of pairs
grows with the square of the rows. https://github.com/huggingface/setfit
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, cycle, islice, zip_longest
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray
from torch import Tensor

from luthier.data.batching import Batching
from luthier.errors import MethodError
from luthier.tasks import Loss
from luthier.tasks._similarity import pairwise
from luthier.tasks.sentence_similarity import SentenceSimilarity

Strategy = Literal["oversampling", "undersampling", "unique"]
ORDER_SEED = 42
"""Of the library's fixed order."""
Pairs = Int[ndarray, "pairs 2"]


@dataclass(frozen=True)
class LibraryPairs(Batching):
    """Batches of pairs, one behind the other: rows 2k and 2k + 1 of a batch are compared."""

    targets: Shaped[ndarray, "rows ..."] = field(kw_only=True)
    """Each row's label, or 0 or 1 for each label."""
    strategy: Strategy = field(kw_only=True)
    num_iterations: int | None = field(kw_only=True)
    """Pairs of either kind for each row, in place of a strategy."""

    def epoch(self, number: int) -> list[Int[ndarray, " batch"]]:
        pairs, generator = self.pairs, torch.Generator().manual_seed(self.seed)
        for _ in range(number + 1):
            order = torch.randperm(len(pairs), generator=generator).numpy()
        at_once = max(1, self.batch_size // 2)
        return [pairs[order[start : start + at_once]].flatten() for start in range(0, len(pairs), at_once)]

    @cached_property
    def pairs(self) -> Pairs:
        """All of an epoch, in the library's order before they are shuffled."""
        every = np.stack(np.triu_indices(len(self.targets)), axis=-1)
        every = every[np.random.RandomState(ORDER_SEED).permutation(len(every))]
        is_alike = shared(*(torch.from_numpy(self.targets[every[:, side]]) for side in (0, 1))).numpy()
        one_label, two_labels = every[is_alike], every[~is_alike]
        sizes = self._sizes(len(one_label), len(two_labels))
        if not max(sizes):
            raise MethodError("method.strategy: there are no pairs of both kinds, alike and not; say oversampling")
        turns = zip_longest(
            *(_repeated(pairs, size) for pairs, size in zip((one_label, two_labels), sizes, strict=True))
        )
        return np.array([pair for pair in chain.from_iterable(turns) if pair is not None])

    def _sizes(self, num_alike: int, num_apart: int) -> tuple[int, int]:
        """How many pairs of either kind there are to be."""
        if self.num_iterations is not None:
            return (self.num_iterations * len(self.targets),) * 2
        if self.strategy == "unique":
            return num_alike, num_apart
        return ((max if self.strategy == "oversampling" else min)(num_alike, num_apart),) * 2


class PairsOfABatch(SentenceSimilarity):
    """The similarity of each pair of a batch is to be 1, or 0: a mean of squares over the pairs."""

    def relate(self, states: Float[Tensor, "rows 1 width"], targets: Shaped[Tensor, "rows ..."]) -> Loss:
        even = len(states) // 2 * 2  # a plan may look at a piece that ends within a pair
        vectors, targets = states[:even, 0], targets[:even]
        wanted = shared(targets[::2], targets[1::2]).to(vectors.dtype)
        total = (pairwise(vectors[::2], vectors[1::2], "cosine") - wanted) ** 2
        return Loss(total, torch.ones_like(total))


def shared(first: Shaped[Tensor, "pairs ..."], second: Shaped[Tensor, "pairs ..."]) -> Bool[Tensor, " pairs"]:
    """Which pairs have a label in common."""
    return first == second if first.ndim == 1 else (first * second).sum(-1) > 0


def _repeated(pairs: Pairs, size: int) -> Iterator[Int[ndarray, "2"]]:
    return islice(cycle(pairs), size)
