"""Exact match: the share of texts that are the same as one of those that are right. Rajpurkar et al. 2016,
https://arxiv.org/abs/1606.05250."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from luthier.evaluation.metrics import Metric, Reference
from luthier.evaluation.metrics._answers import acceptable, normalised
from luthier.tasks import Prediction


class ExactMatch(Metric):
    """Share of answers that are right to the letter; a reference is one text, or a list of those that are right."""

    normalise: bool = True
    """Compare as SQuAD does: without capitals, punctuation and English articles. Otherwise every character counts."""

    def rows(self, predictions: Sequence[Prediction], references: Sequence[Reference]) -> Float[ndarray, " rows"]:
        pairs = zip(predictions, references, strict=True)
        return np.array([float(self._is_right(answer.value, reference)) for answer, reference in pairs])

    def value(self, stats: Float[ndarray, " rows"]) -> float:
        return float(np.mean(stats))

    def _is_right(self, answer: str, reference: str | list[str]) -> bool:
        if self.normalise:
            return normalised(answer) in map(normalised, acceptable(reference))
        return answer in ([reference] if isinstance(reference, str) else reference or [""])
