"""Answer F1: how many words an answer shares with the right one, as SQuAD has it: the harmonic mean of
precision and recall over words, the best over the answers that are right, the mean over rows.

Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250; no answer is an empty one, 2018,
https://arxiv.org/abs/1806.03822.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from luthier.evaluation.metrics import Metric, Reference
from luthier.evaluation.metrics._answers import acceptable, normalised
from luthier.tasks import Prediction


class AnswerF1(Metric):
    """Words shared with the best of the right answers; a reference is one text, or a list of them."""

    def rows(self, predictions: Sequence[Prediction], references: Sequence[Reference]) -> Float[ndarray, " rows"]:
        pairs = zip(predictions, references, strict=True)
        return np.array([max(_shared(answer.value, text) for text in acceptable(texts)) for answer, texts in pairs])

    def value(self, stats: Float[ndarray, " rows"]) -> float:
        return float(np.mean(stats))


def _shared(answer: str, right: str) -> float:
    """F1 of the words of two texts; an empty one is only like an empty one."""
    given, true = normalised(answer).split(), normalised(right).split()
    if not given or not true:
        return float(given == true)
    num_shared = (Counter(given) & Counter(true)).total()
    return 2 * num_shared / (len(given) + len(true))
