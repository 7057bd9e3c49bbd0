"""Token accuracy: the share of tokens that the model finds likeliest, given the right ones before them."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from luthier.evaluation.metrics import Metric, Reference
from luthier.tasks import Prediction


class TokenAccuracy(Metric):
    """How often the next token is the likeliest one; it says little of whole texts."""

    reads_answers: ClassVar[bool] = False

    def rows(self, predictions: Sequence[Prediction], references: Sequence[Reference]) -> Float[ndarray, "rows 2"]:
        return np.array([(p.hits, p.count) for p in predictions])

    def value(self, stats: Float[ndarray, "rows 2"]) -> float:
        hits, count = stats.sum(0)
        return float(hits / count) if count > 0 else float("nan")
