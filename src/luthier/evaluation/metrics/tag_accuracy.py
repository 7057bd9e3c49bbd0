"""Tag accuracy: right tags / words, as taggers of parts of speech are judged (Brants 2000,
https://aclanthology.org/A00-1031/). Where most words are no entity it says little; then see entity-f1."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from luthier.evaluation.metrics import Metric, Reference
from luthier.tasks import Prediction


class TagAccuracy(Metric):
    """Share of the words that have their tag."""

    def rows(self, predictions: Sequence[Prediction], references: Sequence[Reference]) -> Float[ndarray, "rows 2"]:
        pairs = [(prediction.value, tags) for prediction, tags in zip(predictions, references, strict=True)]
        counts = [(sum(map(str.__eq__, given, true)), len(true)) for given, true in pairs]
        return np.array(counts, dtype=float)

    def value(self, stats: Float[ndarray, "rows 2"]) -> float:
        right, num_words = stats.sum(0)
        return float(right / num_words) if num_words > 0 else float("nan")
