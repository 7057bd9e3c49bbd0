"""The Gaussian process: what it expects is scikit-learn's, its gradients are right, and it learns how rungs differ."""

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from luthier.searching.samplers._gaussian_process import JITTER, LEVEL, Process, _loss, _squares, fitted

RANDOM = np.random.default_rng(0)
POINTS = RANDOM.random((20, 3))
SCORES = np.sin(3 * POINTS.sum(1))
NUMBERS = np.zeros(3, dtype=bool)
TOP = np.zeros(20)


def test_mean_and_deviation_are_those_of_scikit_learn() -> None:
    lengths, scale, noise = np.array([0.3, 0.5, 0.9]), 1.7, 0.01
    theta = np.log([*lengths, scale, noise])
    ours = Process(POINTS, TOP, SCORES, NUMBERS, theta)
    kernel = ConstantKernel(scale) * Matern(lengths, nu=2.5) + ConstantKernel(LEVEL)
    theirs = GaussianProcessRegressor(kernel, alpha=noise + JITTER, optimizer=None).fit(POINTS, SCORES)
    places = RANDOM.random((50, 3))
    for found, expected in zip(ours.expected(places), theirs.predict(places, return_std=True), strict=True):
        assert found == pytest.approx(expected, abs=1e-6)


def test_the_marginal_likelihood_is_that_of_scikit_learn() -> None:
    theta = np.log([0.3, 0.5, 0.9, 1.7, 0.01])
    far = np.full(5, 1e6)  # priors that say nothing
    loss = _loss(_squares(POINTS, POINTS, NUMBERS), TOP, SCORES, theta, far)
    kernel = ConstantKernel(1.7) * Matern([0.3, 0.5, 0.9], nu=2.5) + ConstantKernel(LEVEL)
    theirs = GaussianProcessRegressor(kernel, alpha=0.01 + JITTER, optimizer=None).fit(POINTS, SCORES)
    expected = theirs.log_marginal_likelihood_value_ + 20 / 2 * np.log(2 * np.pi)
    assert -loss(theta)[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("has_rungs", [False, True])
def test_the_gradient_by_hyper_parameters_is_that_of_differences(has_rungs: bool) -> None:
    below = RANDOM.choice([0, 0.4, 1], 20) if has_rungs else TOP
    is_category = np.array([False, False, True])
    points = np.column_stack([POINTS[:, :2], np.floor(POINTS[:, 2] * 3) / 3])
    num = 3 + (6 if has_rungs else 2)
    loss = _loss(_squares(points, points, is_category), below, SCORES, np.zeros(num), np.ones(num))
    theta = RANDOM.normal(0, 0.4, num)
    steps = 1e-6 * np.eye(num)
    expected = [(loss(theta + step)[0] - loss(theta - step)[0]) / 2e-6 for step in steps]
    assert loss(theta)[1] == pytest.approx(expected, abs=1e-5)


def test_the_slopes_by_a_place_are_those_of_differences() -> None:
    process = fitted(POINTS, RANDOM.choice([0, 0.5], 20), SCORES, NUMBERS)
    place = np.array([0.2, 0.7, 0.4])
    mean, deviation, by_mean, by_deviation = process.slopes(place)
    steps = 1e-5 * np.eye(3)
    after, before = process.expected(place + steps), process.expected(place - steps)
    assert (mean, deviation) == pytest.approx([float(each[0]) for each in process.expected(place[None])])
    assert by_mean == pytest.approx((after[0] - before[0]) / 2e-5, abs=1e-4)
    assert by_deviation == pytest.approx((after[1] - before[1]) / 2e-5, abs=1e-4)


def test_categories_are_alike_or_not_whatever_their_order() -> None:
    labels = np.array([[0.1], [0.5], [0.9]])
    process = Process(labels, np.zeros(3), np.array([1.0, 0.0, 0.0]), np.array([True]), np.log([0.7, 1.0, 1e-6]))
    assert process.expected(np.array([[0.3]]))[0] == pytest.approx(process.expected(np.array([[0.7]]))[0])


def test_lower_rungs_that_follow_the_highest_tell_of_it_and_noisy_ones_do_not() -> None:
    def error(noise: float) -> float:
        random = np.random.default_rng(1)
        points = random.random((40, 1))
        truth = np.sin(6 * points[:, 0])
        below = np.array([0.0] * 4 + [0.5] * 36)
        scores = truth + 0.5 * (below > 0) + noise * random.normal(size=40) * (below > 0)
        places = np.linspace(0.05, 0.95, 30)[:, None]
        mean, _ = fitted(points, below, scores - scores.mean(), np.array([False])).expected(places)
        return float(np.abs(mean + scores.mean() - np.sin(6 * places[:, 0])).mean())

    assert error(0.0) < 0.1
    assert error(3.0) > 3 * error(0.0)


def test_believing_lowers_the_deviation_there_and_leaves_the_mean() -> None:
    process = fitted(POINTS, TOP, SCORES, NUMBERS)
    place = np.array([[0.95, 0.05, 0.95]])
    mean, deviation = process.expected(place)
    believed_mean, believed_deviation = process.believing(place).expected(place)
    assert believed_mean == pytest.approx(mean, abs=1e-3)
    assert believed_deviation[0] < 0.2 * deviation[0]
