"""ROUGE-L: F1 of the longest sequence of words that both texts have in this order. Lin 2004,
https://aclanthology.org/W04-1013."""

from typing import ClassVar

from luthier.evaluation.metrics._rouge import RougeMetric


class RougeL(RougeMetric):
    """How much of a reference an answer has in the same order, gaps allowed."""

    variant: ClassVar[str] = "rougeL"
