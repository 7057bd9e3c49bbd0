"""ROUGE-1: F1 of single words. Lin 2004, https://aclanthology.org/W04-1013."""

from typing import ClassVar

from luthier.evaluation.metrics._rouge import RougeMetric


class Rouge1(RougeMetric):
    """How many words of a reference an answer has, whatever their order."""

    variant: ClassVar[str] = "rouge1"
