"""Perplexity: exp of the mean negative log-likelihood of a token. Jelinek et al. 1977,
https://doi.org/10.1121/1.2016299."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from luthier.evaluation.metrics import Metric, Reference
from luthier.tasks import Prediction


class Perplexity(Metric):
    """Among how many equally likely tokens the model would be choosing; 1 is certainty."""

    higher_is_better: ClassVar[bool] = False
    reads_answers: ClassVar[bool] = False

    def rows(self, predictions: Sequence[Prediction], references: Sequence[Reference]) -> Float[ndarray, "rows 2"]:
        return np.array([(p.loss, p.count) for p in predictions])

    def value(self, stats: Float[ndarray, "rows 2"]) -> float:
        total, count = stats.sum(0)
        return float(np.exp(total / count)) if count > 0 else float("nan")
