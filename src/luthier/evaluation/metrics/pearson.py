"""Pearson's correlation: of predictions and truth, each less its mean. Pearson 1895,
https://doi.org/10.1098/rspl.1895.0041."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from luthier.evaluation.metrics import Metric, Reference
from luthier.tasks import Prediction


class Pearson(Metric):
    """Whether the predictions lie on a line with the truth: 1 is perfect, 0 none, -1 reversed."""

    def rows(self, predictions: Sequence[Prediction], references: Sequence[Reference]) -> Float[ndarray, "rows 2"]:
        return np.stack([[p.value for p in predictions], np.asarray(references, float)], 1)

    def value(self, stats: Float[ndarray, "rows 2"]) -> float:
        predicted, true = (column - column.mean() for column in stats.T)
        spread = np.sqrt((predicted @ predicted) * (true @ true))
        return float(predicted @ true / spread) if spread > 0 else float("nan")
