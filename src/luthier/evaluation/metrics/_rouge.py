"""ROUGE by rouge-score: how much of a reference summary an answer has, as F1, row by row. Lin 2004,
https://aclanthology.org/W04-1013.

Words are what rouge-score takes for words: runs of a-z and 0-9 in small letters. It sees nothing of other scripts:
for Greek, Cyrillic or Chinese use chrF.
"""

import re
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from luthier import extras
from luthier.evaluation.metrics import Metric, Reference
from luthier.evaluation.metrics._texts import acceptable
from luthier.tasks import Prediction

SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


class RougeMetric(Metric):
    """The mean of the rows' F1; of several references the nearest counts."""

    variant: ClassVar[str]
    """rouge-score's name for what is compared."""

    use_stemmer: bool = False
    """Whether English words are compared without their endings."""

    def require(self) -> None:
        extras.require("rouge_score", extra="text", needed_for=f"the metric {self.kind()}")

    def rows(self, predictions: Sequence[Prediction], references: Sequence[Reference]) -> Float[ndarray, " rows"]:
        self.require()
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer([self.variant], use_stemmer=self.use_stemmer)
        scores = []
        for prediction, reference in zip(predictions, references, strict=True):
            right = [self.written(text) for text in acceptable(reference)]
            scores.append(scorer.score_multi(right, self.written(prediction.value))[self.variant].fmeasure)
        return np.array(scores, float)

    def value(self, stats: Float[ndarray, " rows"]) -> float:
        return float(stats.mean()) if len(stats) else float("nan")

    def written(self, text: str) -> str:
        """A text as it is compared."""
        return text


def by_sentence(text: str) -> str:
    """A sentence a line: a text's own lines where it has several, else it ends one after each of `.!?` and a blank."""
    return text if "\n" in text.strip() else SENTENCE_END.sub("\n", text)
