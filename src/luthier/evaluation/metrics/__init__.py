"""How good the answers are. One file a metric; this is the contract.

A metric is stateless: small statistics per row, then one value of any set of rows. So it streams, merges over
processes, and one generic bootstrap (`evaluation/bootstrap.py`) gives every metric its interval.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from luthier.component import Component

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray

    from luthier.tasks import Prediction

Reference = Any
"""What a row's answer is compared with, as its task gives it: a label's number, a number, a 0 / 1 for each label, the
tags of a sentence, a text."""


class Metric(Component, ABC):
    """A score of predictions against references."""

    higher_is_better: ClassVar[bool] = True
    reads_answers: ClassVar[bool] = True
    """Whether it looks at answers; one that does not reads losses alone, for which nothing must be generated."""

    @property
    def name(self) -> str:
        """The key in metrics.json, unique among a task's metrics."""
        return self.kind()

    def require(self) -> None:
        """Raise MissingExtra where a library that it needs is not installed; asked before a run begins."""

    @abstractmethod
    def rows(
        self, predictions: Sequence[Prediction], references: Sequence[Reference]
    ) -> Float[ndarray, "rows *statistics"]:
        """What the value needs of each row."""

    @abstractmethod
    def value(self, stats: Float[ndarray, "rows *statistics"]) -> float:
        """The score of these rows; NaN where it is not defined for them."""
