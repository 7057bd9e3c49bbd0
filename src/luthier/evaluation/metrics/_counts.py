"""What classification metrics count in: labels given and labels true, as rows of yes and no."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from luthier.evaluation.metrics import Reference
from luthier.tasks import Prediction


def chosen(
    predictions: Sequence[Prediction], references: Sequence[Reference]
) -> tuple[Bool[ndarray, "rows labels"], Bool[ndarray, "rows labels"]]:
    """Which labels each row was given, and which it has; rows may have labels of their own, as many as they like."""
    num_labels = max(len(p.scores) for p in predictions)
    return _hot([p.value for p in predictions], num_labels), _targets(references, num_labels)


def scored(
    predictions: Sequence[Prediction], references: Sequence[Reference]
) -> tuple[Float[ndarray, "rows labels"], Bool[ndarray, "rows labels"]]:
    """Each label's probability, and which labels a row has."""
    scores = np.array([p.scores for p in predictions])
    return scores, _targets(references, scores.shape[1])


def _targets(references: Sequence[Reference], num_labels: int) -> Bool[ndarray, "rows labels"]:
    array = np.asarray(references)
    return array > 0.5 if array.ndim == 2 else array[:, None] == np.arange(num_labels)


def _hot(values: Sequence[int | tuple[int, ...]], num_labels: int) -> Bool[ndarray, "rows labels"]:
    hot = np.zeros((len(values), num_labels), bool)
    for row, value in zip(hot, values, strict=True):
        row[np.array(value, dtype=int)] = True
    return hot
