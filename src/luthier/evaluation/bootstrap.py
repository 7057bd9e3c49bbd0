"""The percentile bootstrap: the metric over rows drawn with replacement. Efron 1979,
https://doi.org/10.1214/aos/1176344552."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from luthier.evaluation.metrics import Metric

NUM_RESAMPLES = 1000
"""Gives the ends of a 95 % interval to about a tenth of its width."""


def interval(
    metric: Metric,
    stats: Float[ndarray, "rows *statistics"],
    *,
    level: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Value, lower and upper end; resamples for which the metric is not defined are left out."""
    value = metric.value(stats)
    return (value, *ends(_resampled(metric, [stats], num_resamples, seed)[0], level))


def paired_difference(
    metric: Metric,
    ours: Float[ndarray, "rows *statistics"],
    theirs: Float[ndarray, "rows *statistics"],
    *,
    level: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Ours minus theirs on the same rows, with the interval of the difference."""
    drawn = paired_differences(metric, ours, theirs, num_resamples=num_resamples, seed=seed)
    return (metric.value(ours) - metric.value(theirs), *ends(drawn, level))


def paired_differences(
    metric: Metric,
    ours: Float[ndarray, "rows *statistics"],
    theirs: Float[ndarray, "rows *statistics"],
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Float[ndarray, " resamples"]:
    """Ours minus theirs in each resample of the rows: for what is made of several differences."""
    mine, other = _resampled(metric, [ours, theirs], num_resamples, seed)
    difference: Float[ndarray, " resamples"] = mine - other
    return difference


def ends(values: Float[ndarray, " n"], level: float = 0.95) -> tuple[float, float]:
    """The interval that holds this share of what is defined; NaN where nothing is."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _resampled(metric: Metric, all_stats: list[ndarray], num_resamples: int, seed: int) -> Float[ndarray, "sets n"]:
    """The metric of each set over the same resamples of rows."""
    random = np.random.default_rng(seed)
    num_rows = len(all_stats[0])
    draws = [random.integers(num_rows, size=num_rows) for _ in range(num_resamples)]
    return np.array([[metric.value(stats[draw]) for draw in draws] for stats in all_stats])
