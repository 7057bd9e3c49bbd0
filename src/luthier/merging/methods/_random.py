"""What is left of a change by chance: each element for itself, and what is left grows in its place.

Where a tensor is gone through twice, the same numbers are drawn again: a part that begins at 0 begins the draws anew.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from luthier.merging.methods import Tensors
from luthier.merging.methods import _draws as draws
from luthier.merging.methods._blocks import blocks


class Drawn(ABC):
    """Rows are drawn one after the other, so that the numbers do not depend on the parts."""

    def __init__(self, begin: Callable[[], np.random.Generator]) -> None:
        self._begin = begin
        self._generator: np.random.Generator

    def of(self, values: Float[Tensor, "rows width"], start: int) -> Float[Tensor, "rows width"]:
        if start == 0:
            self._generator = self._begin()
        left = torch.empty_like(values)
        for rows in blocks(len(values), width=values.shape[1]):
            torch.mul(values[rows], self.factors(values[rows], self._generator), out=left[rows])
        return left

    @abstractmethod
    def factors(
        self, values: Float[Tensor, "rows width"], generator: np.random.Generator
    ) -> Float[Tensor, "rows width"]:
        """0 for what is dropped, and by what the rest is multiplied."""


class Dropped(Drawn):
    """Each element is left with the same probability."""

    def __init__(self, begin: Callable[[], np.random.Generator], *, density: float, factor: float) -> None:
        super().__init__(begin)
        self.density, self.factor = density, factor

    def factors(
        self, values: Float[Tensor, "rows width"], generator: np.random.Generator
    ) -> Float[Tensor, "rows width"]:
        left = draws.uniform(generator, like=values).lt_(self.density).to(values.dtype)
        return left.mul_(self.factor) if self.factor != 1 else left


class DroppedByRank(Drawn):
    """Each element is left with a probability that grows with the rank of its magnitude in its row."""

    def __init__(
        self, begin: Callable[[], np.random.Generator], *, probabilities: Float[Tensor, " width"], invert: bool
    ) -> None:
        super().__init__(begin)
        self.probabilities = probabilities
        self.grown = probabilities.reciprocal() if invert else None

    def factors(
        self, values: Float[Tensor, "rows width"], generator: np.random.Generator
    ) -> Float[Tensor, "rows width"]:
        """Drawn in the order of the ranks, and brought back from there."""
        by_rank = draws.uniform(generator, like=values).lt_(self.probabilities)
        if self.grown is not None:
            by_rank.mul_(self.grown)
        factors = torch.empty_like(by_rank)
        return factors.scatter_(1, ranked(values), by_rank).to(values.dtype)


def ranked(values: Float[Tensor, "rows width"]) -> Int[Tensor, "rows width"]:
    """Indices in each row by growing magnitude, as fp32; of equals the lowest index first.

    Magnitude and index are one number, so that a plain sort does it, which is twice as fast as one of indices.
    """
    keys = values.to(torch.float32).abs().view(torch.int32).to(torch.int64).bitwise_left_shift_(32)
    keys.bitwise_or_(torch.arange(values.shape[1]))
    keys.numpy().sort(axis=1)
    return keys.bitwise_and_(2**32 - 1)


def beginning(seed: int, tensors: Tensors, model: int) -> Callable[[], np.random.Generator]:
    """What begins a model's draws for a tensor."""
    return lambda: draws.generator(seed, tensors, model=model)
