"""F1: 2 tp / (2 tp + fp + fn), the harmonic mean of precision and recall. van Rijsbergen 1979,
http://www.dcs.gla.ac.uk/Keith/Preface.html."""

from typing import ClassVar

from luthier.evaluation.metrics._averaged import AveragedMetric


class F1(AveragedMetric):
    """How well labels are given and found at once."""

    false_positives: ClassVar[float] = 0.5
    false_negatives: ClassVar[float] = 0.5
