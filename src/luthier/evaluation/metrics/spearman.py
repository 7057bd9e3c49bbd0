"""Spearman's rank correlation: Pearson's correlation of ranks. Spearman 1904, https://doi.org/10.2307/1412159."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from luthier.evaluation.metrics import Metric, Reference
from luthier.evaluation.metrics._ranking import ranks
from luthier.tasks import Prediction


class Spearman(Metric):
    """Whether the predictions are in the right order: 1 is perfect, 0 none, -1 reversed."""

    def rows(self, predictions: Sequence[Prediction], references: Sequence[Reference]) -> Float[ndarray, "rows 2"]:
        return np.stack([[p.value for p in predictions], np.asarray(references, float)], 1)

    def value(self, stats: Float[ndarray, "rows 2"]) -> float:
        predicted, true = (ranks(column) - (len(stats) + 1) / 2 for column in stats.T)
        spread = np.sqrt((predicted @ predicted) * (true @ true))
        return float(predicted @ true / spread) if spread > 0 else float("nan")
