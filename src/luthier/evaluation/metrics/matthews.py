"""Matthews' correlation of labels given and labels true, for any number of labels. Gorodkin 2004,
https://doi.org/10.1016/j.compbiolchem.2004.09.006."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from luthier.evaluation.metrics import Metric, Reference
from luthier.evaluation.metrics._counts import chosen
from luthier.tasks import Prediction


class Matthews(Metric):
    """1 is perfect, 0 no better than chance, -1 always wrong; fair to rare labels."""

    def rows(
        self, predictions: Sequence[Prediction], references: Sequence[Reference]
    ) -> Float[ndarray, "rows 2 labels"]:
        return np.stack(chosen(predictions, references), 1).astype(float)

    def value(self, stats: Float[ndarray, "rows 2 labels"]) -> float:
        given, true = stats.sum(0)
        num_rows, num_right = len(stats), (stats[:, 0] * stats[:, 1]).sum()
        spread = (num_rows**2 - (given**2).sum()) * (num_rows**2 - (true**2).sum())
        return float((num_right * num_rows - given @ true) / np.sqrt(spread)) if spread > 0 else 0.0
