"""Recall: tp / (tp + fn). Manning et al. 2008, https://nlp.stanford.edu/IR-book/, chapter 8."""

from typing import ClassVar

from luthier.evaluation.metrics._averaged import AveragedMetric


class Recall(AveragedMetric):
    """Share of the true labels that are found."""

    false_positives: ClassVar[float] = 0.0
    false_negatives: ClassVar[float] = 1.0
