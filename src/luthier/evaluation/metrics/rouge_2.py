"""ROUGE-2: F1 of pairs of words that follow each other. Lin 2004, https://aclanthology.org/W04-1013."""

from typing import ClassVar

from luthier.evaluation.metrics._rouge import RougeMetric


class Rouge2(RougeMetric):
    """How many pairs of words of a reference an answer has."""

    variant: ClassVar[str] = "rouge2"
