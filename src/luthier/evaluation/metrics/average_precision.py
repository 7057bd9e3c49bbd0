"""Average precision: the precision at each row that has the label, from the highest score down, averaged.
Manning et al. 2008, https://nlp.stanford.edu/IR-book/, chapter 8."""

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from luthier.evaluation.metrics._ranking import RankingMetric


class AveragePrecision(RankingMetric):
    """Area under precision over recall; the mean over labels, each against the rest."""

    def area(self, scores: Float[ndarray, " rows"], has: Bool[ndarray, " rows"]) -> float:
        """Rows of one score enter together: the precision is read after the last of them."""
        if not has.any():
            return float("nan")
        order = np.argsort(-scores, kind="stable")
        hits = np.cumsum(has[order])
        last_of_score = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
        gained = np.diff(hits[last_of_score], prepend=0)
        return float((gained * hits[last_of_score] / (last_of_score + 1)).sum() / hits[-1])
