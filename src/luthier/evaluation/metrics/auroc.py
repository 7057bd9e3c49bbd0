"""AUROC: the probability that a row that has a label scores higher than one that has not. Hanley and McNeil 1982,
https://doi.org/10.1148/radiology.143.1.7063747."""

from jaxtyping import Bool, Float
from numpy import ndarray

from luthier.evaluation.metrics._ranking import RankingMetric, ranks


class Auroc(RankingMetric):
    """0.5 is chance, 1 a perfect order; the mean over labels, each against the rest."""

    def area(self, scores: Float[ndarray, " rows"], has: Bool[ndarray, " rows"]) -> float:
        """Mann and Whitney's U over its largest value."""
        positive, negative = has.sum(), (~has).sum()
        if not positive or not negative:
            return float("nan")
        return float((ranks(scores)[has].sum() - positive * (positive + 1) / 2) / (positive * negative))
