"""Perplexity: exp of the mean negative log-likelihood of a token. Jelinek et al. 1977,
https://doi.org/10.1121/1.2016299."""

from typing import ClassVar

import numpy as np

from luthier.evaluation.metrics._of_losses import OfLosses


class Perplexity(OfLosses):
    """Among how many equally likely tokens the model would be choosing; 1 is certainty."""

    higher_is_better: ClassVar[bool] = False

    def of_mean(self, mean: float) -> float:
        return float(np.exp(mean))
