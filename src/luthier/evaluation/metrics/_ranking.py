"""What metrics of an order share: scores beside truths, tied ranks, the mean over labels."""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from luthier.evaluation.metrics import Metric, Reference
from luthier.evaluation.metrics._counts import scored
from luthier.tasks import Prediction


class RankingMetric(Metric):
    """How well a label's probability puts its rows first; the mean over labels, each against the rest."""

    def rows(
        self, predictions: Sequence[Prediction], references: Sequence[Reference]
    ) -> Float[ndarray, "rows 2 labels"]:
        """Scores and truths of each row; of two labels that exclude each other, the second one only."""
        scores, true = scored(predictions, references)
        two_exclusive = scores.shape[1] == 2 and np.ndim(references) == 1
        labels = slice(1, 2) if two_exclusive else slice(None)
        return np.stack([scores[:, labels], true[:, labels].astype(float)], 1)

    def value(self, stats: Float[ndarray, "rows 2 labels"]) -> float:
        """The mean over the labels for which the area is defined; NaN where there is none."""
        values = [self.area(stats[:, 0, i], stats[:, 1, i] > 0.5) for i in range(stats.shape[2])]
        defined = [value for value in values if value == value]
        return float(np.mean(defined)) if defined else float("nan")

    @abstractmethod
    def area(self, scores: Float[ndarray, " rows"], has: Bool[ndarray, " rows"]) -> float:
        """One label's value; NaN where it is not defined."""


def ranks(values: Float[ndarray, " rows"]) -> Float[ndarray, " rows"]:
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]
