"""Means of a few values, with the interval of Student's t distribution. Student 1908,
https://doi.org/10.1093/biomet/6.1.1."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from scipy.special import stdtrit

from luthier.evaluation.score import Score

LEVEL = 0.95


def mean_with_interval(values: Sequence[float]) -> Score:
    """The mean, with Student's interval; its ends are NaN where there is a single value."""
    mean = fmean(values)
    if len(values) < 2:
        return Score(mean, math.nan, math.nan)
    half = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2)) * stdev(values) / math.sqrt(len(values))
    return Score(mean, mean - half, mean + half)
