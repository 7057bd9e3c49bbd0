"""What metrics of an order share: scores beside truths, tied ranks, the mean over labels."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from luthier.evaluation.metrics import Reference
from luthier.evaluation.metrics._counts import scored
from luthier.tasks import Prediction


def pack(predictions: Sequence[Prediction], references: Sequence[Reference]) -> Float[ndarray, "rows 2 labels"]:
    """Scores and truths of each row; of two labels that exclude each other, the second one only."""
    scores, true = scored(predictions, references)
    two_exclusive = scores.shape[1] == 2 and np.ndim(references) == 1
    labels = slice(1, 2) if two_exclusive else slice(None)
    return np.stack([scores[:, labels], true[:, labels].astype(float)], 1)


def mean_over_labels(score: Callable[[ndarray, ndarray], float], stats: Float[ndarray, "rows 2 labels"]) -> float:
    """The mean of a label's score over the labels for which it is defined; NaN where there is none."""
    values = [score(stats[:, 0, i], stats[:, 1, i] > 0.5) for i in range(stats.shape[2])]
    defined = [value for value in values if value == value]
    return float(np.mean(defined)) if defined else float("nan")


def ranks(values: Float[ndarray, " rows"]) -> Float[ndarray, " rows"]:
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]
