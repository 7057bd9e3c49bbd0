"""How an error falls with examples: error = floor + scale * size^-exponent. Hestness et al. 2017,
https://arxiv.org/abs/1712.00409.

For a given exponent the other two are a least-squares problem of numbers that are not negative; the exponent is
searched for between bounds.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.optimize import minimize_scalar, nnls
from scipy.special import ndtr, stdtrit

from luthier.evaluation.score import Score

SLOWEST, FASTEST = 0.05, 2.0
"""Exponents that are looked at: published curves have 0.07 to 0.5, and the first few examples bring more than that."""
NUM_RESAMPLES = 1000
LEVEL = 0.95

Sizes = Float[ndarray, " sizes"]
Errors = Float[ndarray, "sizes splits"]


@dataclass(frozen=True)
class PowerLaw:
    """A fitted curve."""

    floor: float
    """What no number of examples takes away."""
    scale: float
    """What the first one leaves, above the floor."""
    exponent: float

    def at(self, size: float) -> float:
        """The error with so many examples of each class."""
        return float(self.floor + self.scale * size**-self.exponent)


def fit(sizes: Sizes, errors: Float[ndarray, " sizes"], weights: Float[ndarray, " sizes"]) -> PowerLaw:
    """The curve of least squares through these errors, three at least."""

    def solved(exponent: float) -> tuple[Float[ndarray, "2"], float]:
        terms = np.stack([np.ones_like(sizes), sizes**-exponent], axis=1)
        (floor, scale), rest = nnls(terms * weights[:, None], errors * weights)
        return np.array([floor, scale]), float(rest)

    found = minimize_scalar(lambda exponent: solved(exponent)[1], bounds=(SLOWEST, FASTEST), method="bounded")
    (floor, scale), _ = solved(found.x)
    return PowerLaw(float(floor), float(scale), float(found.x))


def weights_of(errors: Errors) -> Float[ndarray, " sizes"]:
    """How much each size's mean counts: less where its splits differ more.

    A few splits tell a variance only roughly, so half of each is the mean of all sizes.
    """
    variances = errors.var(axis=1, ddof=1)
    smoothed = (variances + variances.mean()) / 2
    return np.ones(len(errors)) if not variances.any() else 1 / np.sqrt(smoothed)


def extrapolated(sizes: Sizes, errors: Errors, targets: tuple[int, ...], *, seed: int = 0) -> list[Score]:
    """The error at each target, with its 95 % interval by a bootstrap over splits.

    Of few splits a percentile interval is too narrow, so its ends are those of a wider level, as Student's to the
    normal's. Hesterberg 2015, https://arxiv.org/abs/1411.5279.
    """
    weights, num_splits = weights_of(errors), errors.shape[1]
    law = fit(sizes, errors.mean(axis=1), weights)
    draws = np.sort(np.random.default_rng(seed).integers(num_splits, size=(NUM_RESAMPLES, num_splits)), axis=1)
    different, whose = np.unique(draws, axis=0, return_inverse=True)  # of few splits, few draws differ
    laws = [fit(sizes, errors[:, draw].mean(axis=1), weights) for draw in different]
    normal = float(stdtrit(num_splits - 1, (1 - LEVEL) / 2)) * math.sqrt(num_splits / (num_splits - 1))
    ends = [float(ndtr(normal)), float(ndtr(-normal))]
    found = []
    for target in targets:
        resampled = np.array([each.at(target) for each in laws])[whose.ravel()]
        low, high = np.quantile(resampled, ends)
        found.append(Score(law.at(target), float(low), float(high)))
    return found
