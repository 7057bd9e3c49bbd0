"""Accuracy: the share of rows whose answer is wholly right; for several labels, all of them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from luthier.evaluation.metrics import Metric, Reference
from luthier.evaluation.metrics._counts import chosen
from luthier.tasks import Prediction


class Accuracy(Metric):
    """Share of rows that are wholly right."""

    def rows(self, predictions: Sequence[Prediction], references: Sequence[Reference]) -> Float[ndarray, " rows"]:
        given, true = chosen(predictions, references)
        right: Float[ndarray, " rows"] = (given == true).all(-1).astype(float)
        return right

    def value(self, stats: Float[ndarray, " rows"]) -> float:
        return float(np.mean(stats))
