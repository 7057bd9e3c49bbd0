"""What word and character error rate share: edits over what should have been written, by jiwer.

(substitutions + deletions + insertions) / length of the references, both summed over all rows, so that a long
transcript weighs more than a short one; more insertions than words give more than 1. Levenshtein 1966,
https://nymity.ch/sybilhunting/pdf/Levenshtein1966a.pdf; jiwer, https://github.com/jitsi/jiwer.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from luthier import extras
from luthier.data.transcripts import Normalizer, normalised
from luthier.evaluation.metrics import Metric, Reference
from luthier.tasks import Prediction


class ErrorRate(Metric):
    """Edits that make the answers the references, over the references' length."""

    higher_is_better: ClassVar[bool] = False

    normalizer: Normalizer = "basic"
    """What is made of both sides first. none: nothing; basic: lower case, no punctuation, single blanks."""

    @property
    def name(self) -> str:
        return f"{self.kind()}-{self.normalizer}"

    @abstractmethod
    def compared(self, jiwer: Any, reference: str, answer: str) -> Any:
        """jiwer's comparison of two texts."""

    def require(self) -> None:
        extras.require("jiwer", extra="speech", needed_for=f"the metric {self.kind()}")

    def rows(self, predictions: Sequence[Prediction], references: Sequence[Reference]) -> Float[ndarray, "rows 2"]:
        """Of each row: edits, and the reference's length."""
        jiwer = extras.need("jiwer", extra="speech", needed_for=f"the metric {self.kind()}")
        pairs = zip(references, (prediction.value for prediction in predictions), strict=True)
        found = [self.compared(jiwer, *(normalised(text, self.normalizer) for text in pair)) for pair in pairs]
        misses = [(each.substitutions + each.deletions, each.insertions, each.hits) for each in found]
        return np.array([(missed + added, missed + hits) for missed, added, hits in misses], dtype=float)

    def value(self, stats: Float[ndarray, "rows 2"]) -> float:
        edits, length = stats.sum(0)
        return float(edits / length) if length > 0 else float("nan")
