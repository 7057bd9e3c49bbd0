"""Token accuracy: the share of tokens that the model finds likeliest, given the right ones before them."""

from typing import ClassVar

from luthier.evaluation.metrics._of_losses import OfLosses


class TokenAccuracy(OfLosses):
    """How often the next token is the likeliest one; it says little of whole texts."""

    sums: ClassVar[str] = "hits"
