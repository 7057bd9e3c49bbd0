"""What is read off losses alone: a sum over the tokens of each row, and how many they are."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from luthier.evaluation.metrics import Metric, Reference
from luthier.tasks import Prediction


class OfLosses(Metric):
    """A mean over tokens, or what follows from it; nothing is generated for it."""

    reads_answers: ClassVar[bool] = False
    sums: ClassVar[str] = "loss"
    """What is summed of each prediction, to be divided by its count."""

    def rows(self, predictions: Sequence[Prediction], references: Sequence[Reference]) -> Float[ndarray, "rows 2"]:
        return np.array([(getattr(p, self.sums), p.count) for p in predictions])

    def value(self, stats: Float[ndarray, "rows 2"]) -> float:
        total, count = stats.sum(0)
        return self.of_mean(float(total / count)) if count > 0 else float("nan")

    def of_mean(self, mean: float) -> float:
        """The metric, from the mean over all tokens."""
        return mean
