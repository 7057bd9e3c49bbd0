"""What a search is judged by: at which places, from 1, a row finds what is relevant to it."""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from luthier.evaluation.metrics import Metric, Reference
from luthier.tasks import Prediction


class OfPlaces(Metric):
    """A mean over the rows to which something is relevant."""

    def rows(self, predictions: Sequence[Prediction], references: Sequence[Reference]) -> Float[ndarray, "rows 2"]:
        found = [(prediction.value["places"], prediction.value["relevant"]) for prediction in predictions]
        return np.array([(self.of(places, num), 1.0) if num else (0.0, 0.0) for places, num in found])

    def value(self, stats: Float[ndarray, "rows 2"]) -> float:
        total, count = stats.sum(0)
        return float(total / count) if count else float("nan")

    @abstractmethod
    def of(self, places: Sequence[int], num: int) -> float:
        """Of one row: where it finds what is relevant, in rising order, and how many texts that are in all."""
