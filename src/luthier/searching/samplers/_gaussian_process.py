"""A Gaussian process over settings and rungs: what it expects of a setting at the highest rung, and how surely.

    f(x, t) = m + (1 + slope t) g(x) + t d(x) + t b + noise,   t = 1 - place of the rung

m is the mean, g what a setting adds at the highest rung, d how a lower rung differs from it from setting to setting, b
how it differs in all; so the process learns how far lower rungs are to be trusted. g and d have a Matern kernel of 5/2
with a lengthscale for each axis (Rasmussen and Williams 2006, eq. 4.17); the distance of two categories is 0 or 1. The
hyper-parameters are those of most posterior density: the marginal likelihood (eq. 5.8) times log-normal priors. Noise
is one value at the highest rung and more below.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]

JITTER = 1e-8
LEVEL = 1.0
"""Prior variance of the mean, which is learnt: trials crowd where scores are good, and their plain mean is too low."""
GLOBAL = (("scale", 0.0, 1.0), ("noise", np.log(1e-4), 2.5))
"""Name, mean and deviation of the normal priors of logarithms."""
OF_RUNGS = (
    ("slope", 0.0, 0.5),
    ("differs", np.log(0.1), 1.5),
    ("bias", np.log(0.3), 1.5),
    ("noise_below", np.log(0.05), 2.0),
)
"""Those of rungs; the slope is taken as it is, not by its logarithm."""
LENGTH_MEAN, LENGTH_DEVIATION = np.log(0.5), 1.0
MOST_STEPS, ENOUGH = 50, 1e-5
"""Of the climb to the most density; and the relative gain at which it ends."""
MANY = 60
"""Points that determine the hyper-parameters well enough for a single climb."""
SAME = 1e-9
"""Distance below which two places are one."""


@dataclass(frozen=True)
class Process:
    """A process that has seen its data, under hyper-parameters [axes + 2, or + 6 with rungs]."""

    points: Matrix
    """[n, axes]."""
    below: Vector
    """t of each point: 0 at the highest rung."""
    scores: Vector
    """Standardised."""
    is_category: NDArray[np.bool_]
    theta: Vector

    @cached_property
    def _parts(self) -> tuple[Vector, float, float, float]:
        num_axes = self.points.shape[1]
        slope = self.theta[num_axes + 2] if len(self.theta) > num_axes + 2 else 0.0
        weights: Vector = np.exp(-2 * self.theta[:num_axes])
        return weights, float(np.exp(self.theta[num_axes])), float(np.exp(self.theta[num_axes + 1])), float(slope)

    @cached_property
    def _factor(self) -> Matrix:
        covariance, _ = _covariance(self.theta, _squares(self.points, self.points, self.is_category), self.below)
        return np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)

    @cached_property
    def _weights(self) -> Vector:
        from scipy.linalg import cho_solve

        return np.asarray(cho_solve((self._factor, True), self.scores))

    def expected(self, places: Matrix) -> tuple[Vector, Vector]:
        """Mean and deviation [m] at the highest rung of places [m, axes]."""
        from scipy.linalg import solve_triangular

        _, scale, _, _ = self._parts
        cross = self._cross(self._distances(places))[0]
        spread = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        variance = np.maximum(scale + LEVEL - (spread**2).sum(0), 1e-12 * scale)
        return cross @ self._weights, np.sqrt(variance)

    def slopes(self, place: Vector) -> tuple[float, float, Vector, Vector]:
        """Mean and deviation at one place, and their derivatives by its axes (0 for categories)."""
        from scipy.linalg import cho_solve

        weights, scale, _, _ = self._parts
        cross, by_square = self._cross(self._distances(place[None]))
        apart = np.where(self.is_category, 0.0, place[None] - self.points)
        by_axis = by_square[0][:, None] * 2 * weights * apart
        solved = cho_solve((self._factor, True), cross[0], check_finite=False)
        deviation = float(np.sqrt(max(scale + LEVEL - cross[0] @ solved, 1e-12 * scale)))
        return float(cross[0] @ self._weights), deviation, by_axis.T @ self._weights, -(by_axis.T @ solved) / deviation

    def believing(self, places: Matrix) -> "Process":
        """The same, as if it had seen at these places, at the highest rung, just what it expects."""
        if not len(places):
            return self
        expected = self.expected(places)[0]
        return replace(
            self,
            points=np.vstack([self.points, places]),
            below=np.append(self.below, np.zeros(len(places))),
            scores=np.append(self.scores, expected),
        )

    def _distances(self, places: Matrix) -> Matrix:
        """Squared and weighted distances [m, n] from the data."""
        weights = self._parts[0]
        number = ~self.is_category
        one, other = (each[:, number] * np.sqrt(weights[number]) for each in (places, self.points))
        found = np.maximum((one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T, 0)
        for axis in np.flatnonzero(self.is_category):
            found += weights[axis] * (np.abs(places[:, axis, None] - self.points[:, axis]) > SAME)
        return np.asarray(found)

    def _cross(self, squares: Matrix) -> tuple[Matrix, Matrix]:
        """Covariance with the data, and its derivative by the squared distance."""
        _, scale, _, slope = self._parts
        kernel, by_square = _matern(squares)
        factor = scale * (1 + slope * self.below)
        return kernel * factor + LEVEL, by_square * factor


def fitted(points: Matrix, below: Vector, scores: Vector, is_category: NDArray[np.bool_]) -> Process:
    """The process whose hyper-parameters have the most posterior density, from two starts."""
    from scipy.optimize import minimize

    num_axes, has_rungs = points.shape[1], bool((below > 0).any())
    priors = (
        [("length", LENGTH_MEAN, LENGTH_DEVIATION)] * num_axes + list(GLOBAL) + (list(OF_RUNGS) if has_rungs else [])
    )
    means, deviations = (np.array([prior[part] for prior in priors], dtype=float) for part in (1, 2))
    loss = _loss(_squares(points, points, is_category), below, scores, means, deviations)
    bounds = list(zip(np.maximum(means - 4 * deviations, -16), means + 4 * deviations, strict=True))
    shorter = means - np.append(np.full(num_axes, 0.9), np.zeros(len(means) - num_axes))
    options = {"maxiter": MOST_STEPS, "ftol": ENOUGH}
    ends = [
        minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        for start in ((means, shorter) if len(points) < MANY else (shorter,))
    ]
    return Process(points, below, scores, is_category, min(ends, key=lambda end: float(end.fun)).x)


def _loss(
    squares: NDArray[np.float64], below: Vector, scores: Vector, means: Vector, deviations: Vector
) -> Callable[[Vector], tuple[float, Vector]]:
    """Minus the log posterior density of hyper-parameters, and its gradient."""
    from scipy.linalg import cho_solve

    identity = np.eye(len(scores))

    def loss(theta: Vector) -> tuple[float, Vector]:
        covariance, gradients = _covariance(theta, squares, below)
        far = (theta - means) / deviations
        try:
            factor = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            return 1e10, far / deviations
        solved = cho_solve((factor, True), scores, check_finite=False)
        inverse = cho_solve((factor, True), identity, check_finite=False)
        value = 0.5 * scores @ solved + np.log(np.diag(factor)).sum() + 0.5 * (far**2).sum()
        return float(value), -0.5 * gradients(np.outer(solved, solved) - inverse) + far / deviations

    return loss


def _covariance(
    theta: Vector, squares: NDArray[np.float64], below: Vector
) -> tuple[Matrix, Callable[[Matrix], Vector]]:
    """The covariance [n, n] of the data, and its gradient against a matrix: the sum of products, by hyper-parameter."""
    num_axes = len(squares)
    weights, scale, noise = np.exp(-2 * theta[:num_axes]), np.exp(theta[num_axes]), np.exp(theta[num_axes + 1])
    kernel, by_square = _matern(np.tensordot(weights, squares, 1))
    has_rungs = len(theta) > num_axes + 2
    slope, differs, bias, more = (
        (*theta[num_axes + 2 : num_axes + 3], *np.exp(theta[num_axes + 3 :])) if has_rungs else (0.0,) * 4
    )
    both, risen = np.outer(below, below), 1 + slope * below
    rungs = np.outer(risen, risen) + differs * both
    prior = scale * kernel * rungs
    covariance = prior + LEVEL + bias * both + np.diag(noise + more * below**2 + JITTER)

    def gradients(against: Matrix) -> Vector:
        by_length = -2 * weights * (squares.reshape(num_axes, -1) @ (against * scale * rungs * by_square).ravel())
        found = [(against * prior).sum(), noise * np.trace(against)]
        if has_rungs:
            scaled = against * scale * kernel
            found += [
                2 * (scaled * np.outer(below, risen)).sum(),
                differs * (scaled * both).sum(),
                bias * (against * both).sum(),
                more * (np.diag(against) * below**2).sum(),
            ]
        return np.concatenate([by_length, found])

    return covariance, gradients


def _squares(one: Matrix, other: Matrix, is_category: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Squared distances [axes, m, n], of categories 0 or 1."""
    apart = one.T[:, :, None] - other.T[:, None, :]
    found = apart**2
    found[is_category] = np.abs(apart[is_category]) > SAME
    return found


def _matern(square: Matrix) -> tuple[Matrix, Matrix]:
    """(1 + r + r^2 / 3) exp(-r), with r = sqrt(5 square); and its derivative by `square`."""
    r = np.sqrt(5 * square)
    falls = np.exp(-r)
    return (1 + r + r**2 / 3) * falls, -5 / 6 * (1 + r) * falls
