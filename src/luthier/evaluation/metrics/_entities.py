"""What entity metrics count: entities that are right, that were given, and that are true; as seqeval's strict mode."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from luthier.evaluation.metrics import Metric, Reference
from luthier.tasks import Prediction
from luthier.tasks._tags import strict_entities


class EntityMetric(Metric):
    """Right entities over a mean of those given and those true; an entity is right where type, first and last word are.

    Tags are read as IOB2: what does not begin with B is none. 0 / 0 counts as 0, as in seqeval.
    """

    given: ClassVar[float]
    """Weight of the entities given in the denominator; the rest is that of the true ones."""

    type: str | None = None
    """The one type to look at, in place of all."""

    @property
    def name(self) -> str:
        return self.kind() if self.type is None else f"{self.kind()} of {self.type}"

    def rows(self, predictions: Sequence[Prediction], references: Sequence[Reference]) -> Float[ndarray, "rows 3"]:
        """Entities that are right, given and true."""
        stats = np.zeros((len(predictions), 3))
        for row, prediction, reference in zip(stats, predictions, references, strict=True):
            given, true = (
                {entity for entity in strict_entities(tags) if self.type in (None, entity.type)}
                for tags in (prediction.value, reference)
            )
            row[:] = len(given & true), len(given), len(true)
        return stats

    def value(self, stats: Float[ndarray, "rows 3"]) -> float:
        right, given, true = stats.sum(0)
        if given + true == 0:
            return float("nan")
        out_of = self.given * given + (1 - self.given) * true
        return float(right / out_of) if out_of > 0 else 0.0
