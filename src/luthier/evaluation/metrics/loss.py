"""The task's own loss: the sum over rows divided by the sum of counts; a negative log-likelihood in nats where the
task has one."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from luthier.evaluation.metrics import Metric, Reference
from luthier.tasks import Prediction


class Loss(Metric):
    """The task's loss without smoothing or weights; it also sees how sure a wrong answer was."""

    higher_is_better: ClassVar[bool] = False
    reads_answers: ClassVar[bool] = False

    def rows(self, predictions: Sequence[Prediction], references: Sequence[Reference]) -> Float[ndarray, "rows 2"]:
        return np.array([(p.loss, p.count) for p in predictions])

    def value(self, stats: Float[ndarray, "rows 2"]) -> float:
        total, count = stats.sum(0)
        return float(total / count) if count > 0 else float("nan")
