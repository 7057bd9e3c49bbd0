"""Mean squared error: the mean of (predicted - true)^2."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from luthier.evaluation.metrics import Metric, Reference
from luthier.tasks import Prediction


class Mse(Metric):
    """Mean squared error, in the square of the target's unit."""

    higher_is_better: ClassVar[bool] = False

    def rows(self, predictions: Sequence[Prediction], references: Sequence[Reference]) -> Float[ndarray, " rows"]:
        predicted, true = np.array([p.value for p in predictions], float), np.asarray(references, float)
        squared: Float[ndarray, " rows"] = np.square(predicted - true)
        return squared

    def value(self, stats: Float[ndarray, " rows"]) -> float:
        return float(np.mean(stats))
