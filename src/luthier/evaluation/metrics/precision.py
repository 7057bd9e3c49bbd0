"""Precision: tp / (tp + fp). Manning et al. 2008, https://nlp.stanford.edu/IR-book/, chapter 8."""

from typing import ClassVar

from luthier.evaluation.metrics._averaged import AveragedMetric


class Precision(AveragedMetric):
    """Share of the labels given that are right."""

    false_positives: ClassVar[float] = 1.0
    false_negatives: ClassVar[float] = 0.0
