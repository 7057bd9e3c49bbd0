"""Metrics of translation, by sacrebleu: counts row by row, one value of their sums. Post 2018,
https://aclanthology.org/W18-6319.

A value of sums is no mean of the rows' values: a long text weighs more than a short one.
"""

from abc import abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from luthier import extras
from luthier.evaluation.metrics import Metric, Reference
from luthier.evaluation.metrics._texts import acceptable
from luthier.tasks import Prediction


class CorpusMetric(Metric):
    """From 0 to 100, as sacrebleu gives it."""

    @abstractmethod
    def scorer(self, sacrebleu: Any) -> Any:
        """The object of sacrebleu that computes this, with these settings."""

    @property
    def signature(self) -> str:
        """What a figure depends on, in sacrebleu's words; to be told wherever a figure is published.

        The number of references is left out: it is the data's.
        """
        scorer = _scorer_of(self)
        scorer.num_refs = None
        return f"{type(scorer).__name__}|{scorer.get_signature()}"

    def require(self) -> None:
        extras.require("sacrebleu", extra="text", needed_for=f"the metric {self.kind()}")

    def rows(
        self, predictions: Sequence[Prediction], references: Sequence[Reference]
    ) -> Float[ndarray, "rows statistics"]:
        pairs = zip(predictions, references, strict=True)
        return np.array([self._counts(prediction.value, acceptable(reference)) for prediction, reference in pairs])

    def value(self, stats: Float[ndarray, "rows statistics"]) -> float:
        return float(_scorer_of(self)._compute_score_from_stats(stats.sum(0).tolist()).score)

    def _counts(self, text: str, references: Sequence[str]) -> list[float]:
        """sacrebleu's own statistics of a row, which it tells of no public function."""
        (counts,) = _scorer_of(self)._extract_corpus_statistics([text], [[each] for each in references])
        return [float(count) for count in counts]


@cache
def _scorer_of(metric: CorpusMetric) -> Any:
    needed_for = f"the metric {metric.kind()}"
    return metric.scorer(extras.need("sacrebleu", extra="text", needed_for=needed_for))
