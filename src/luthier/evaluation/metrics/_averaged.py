"""Precision, recall and F1 as one thing: hits over hits and some of the misses, averaged over labels."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from pydantic import Field

from luthier.evaluation.metrics import Metric, Reference
from luthier.evaluation.metrics._counts import chosen
from luthier.tasks import Prediction


class AveragedMetric(Metric):
    """tp / (tp + a fp + b fn), for one label or averaged over all; 0 / 0 counts as 0, as in scikit-learn."""

    false_positives: ClassVar[float]
    false_negatives: ClassVar[float]
    """The share of these misses in the denominator."""

    average: Literal["macro", "micro", "weighted"] = "macro"
    """macro: each label counts alike; micro: each decision; weighted: each label by its rows."""
    label: str | None = None
    """The one label to look at, in place of an average."""
    index: Annotated[int, Field(ge=0)] | None = None
    """That label's number in the model's order."""

    @property
    def name(self) -> str:
        return f"{self.kind()}-{self.average}" if self.label is None else f"{self.kind()} of {self.label}"

    def rows(
        self, predictions: Sequence[Prediction], references: Sequence[Reference]
    ) -> Float[ndarray, "rows labels 3"]:
        """Of each label: a true positive, a false positive, a false negative."""
        given, true = chosen(predictions, references)
        stats = np.stack([given & true, given & ~true, ~given & true], -1).astype(float)
        return stats if self.index is None else stats[:, [self.index]]

    def value(self, stats: Float[ndarray, "rows labels 3"]) -> float:
        counts = stats.sum(0)
        if self.average == "micro":
            counts = counts.sum(0, keepdims=True)
        hits, false_positives, false_negatives = counts.T
        out_of = hits + self.false_positives * false_positives + self.false_negatives * false_negatives
        ratios = np.divide(hits, out_of, out=np.zeros_like(hits), where=out_of > 0)
        there = counts.sum(-1) > 0  # a label that is neither given nor true says nothing
        weights = hits + false_negatives if self.average == "weighted" else there.astype(float)
        return float(ratios @ weights / weights.sum()) if weights.sum() > 0 else float("nan")
