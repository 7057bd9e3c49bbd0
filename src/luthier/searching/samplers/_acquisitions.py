"""How much a place is worth trying, given what a Gaussian process expects there: mean and deviation; higher is better.

Log expected improvement: log E[max(0, best - y)], in a form that stays exact where the improvement is tiny (Ament et
al. 2023, https://arxiv.org/abs/2310.20708). Upper confidence bound: width * deviation - mean (Srinivas et al. 2010,
https://arxiv.org/abs/0912.3995; lower is better here). Probability of improvement: log P(y < best) (Kushner 1964).

Each gives its value and its derivatives by mean and by deviation.
"""

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Valued = tuple[Vector, Vector, Vector]

_LOG_SQRT_2_PI = 0.5 * np.log(2 * np.pi)


def log_ei(mean: Vector, deviation: Vector, best: float) -> Valued:
    """log deviation + log h(z), with h(z) = pdf(z) + z cdf(z) and z = (best - mean) / deviation."""
    from scipy.special import log_ndtr

    z = (best - mean) / deviation
    log_h = _log_h(z)
    by_z = np.exp(log_ndtr(z) - log_h)  # h' = cdf
    return np.log(deviation) + log_h, -by_z / deviation, (1 - by_z * z) / deviation


def log_pi(mean: Vector, deviation: Vector, best: float) -> Valued:
    """log cdf(z), with z = (best - mean) / deviation."""
    from scipy.special import log_ndtr

    z = (best - mean) / deviation
    value = log_ndtr(z)
    by_z = np.exp(-0.5 * z**2 - _LOG_SQRT_2_PI - value)
    return value, -by_z / deviation, -by_z * z / deviation


def bound(mean: Vector, deviation: Vector, width: float) -> Valued:
    """width * deviation - mean."""
    return width * deviation - mean, -np.ones_like(mean), np.full_like(mean, width)


def _log_h(z: Vector) -> Vector:
    """log(pdf(z) + z cdf(z)): as it stands above -1, by erfcx below, by its first term far below."""
    from scipy.special import erfcx, ndtr

    near = np.maximum(z, -1.0)
    plain = np.log(np.exp(-0.5 * near**2 - _LOG_SQRT_2_PI) + near * ndtr(near))
    low = np.clip(z, -1e6, -1.0)
    ratio = np.log(erfcx(-low / np.sqrt(2)) * -low) + 0.5 * np.log(np.pi / 2)  # log of |z| cdf / pdf
    middle = np.log(np.maximum(-np.expm1(ratio), 1e-300))
    tail = np.where(z < -1e4, -2 * np.log(np.maximum(-z, 1.0)), middle)
    found: Vector = np.where(z > -1, plain, -0.5 * z**2 - _LOG_SQRT_2_PI + tail)
    return found
