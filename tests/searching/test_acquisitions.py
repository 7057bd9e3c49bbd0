"""Acquisitions are what their definitions say, far out too, and their derivatives are right."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from luthier.searching.samplers._acquisitions import Valued, bound, log_ei, log_pi


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (-1.0, 0.5), (2.0, 0.7), (4.0, 1.0)])
def test_log_ei_is_the_logarithm_of_the_mean_improvement(mean: float, deviation: float) -> None:
    improvement, _ = quad(lambda y: (0.3 - y) * norm.pdf(y, mean, deviation), -np.inf, 0.3)
    assert log_ei(np.array([mean]), np.array([deviation]), 0.3)[0] == pytest.approx(np.log(improvement), rel=1e-6)


@pytest.mark.parametrize("z", [-30.0, -300.0, -5e3, -1e5])
def test_far_out_log_ei_follows_its_expansion(z: float) -> None:
    expected = -0.5 * z**2 - 0.5 * np.log(2 * np.pi) - 2 * np.log(-z) + np.log1p(-3 / z**2)
    assert log_ei(np.array([-z]), np.array([1.0]), 0.0)[0] == pytest.approx(expected, rel=1e-7)


def test_log_ei_has_no_jump_where_its_forms_meet() -> None:
    for at in (-1.0, -1e4):
        sides = -at * np.array([1 - 1e-9, 1 + 1e-9])
        below, above = log_ei(sides, np.ones(2), 0.0)[0]
        assert below == pytest.approx(above, rel=1e-8)


def test_log_pi_is_the_logarithm_of_a_probability() -> None:
    assert log_pi(np.array([1.0]), np.array([2.0]), 0.5)[0] == pytest.approx(norm.logcdf(-0.25))


def test_the_bound_weighs_deviation_against_mean() -> None:
    assert bound(np.array([1.0]), np.array([2.0]), 1.5)[0] == pytest.approx(2.0)


@pytest.mark.parametrize("acquisition", [log_ei, log_pi, bound], ids=["log-ei", "pi", "ucb"])
def test_derivatives_are_those_of_differences(acquisition: type[Valued]) -> None:
    mean, deviation = np.array([-1.0, 0.5, 3.0, 40.0]), np.array([0.5, 1.0, 0.8, 1.0])
    step = 1e-6
    _, by_mean, by_deviation = acquisition(mean, deviation, 0.4)
    up, down = (acquisition(mean + each, deviation, 0.4)[0] for each in (step, -step))
    assert by_mean == pytest.approx((up - down) / (2 * step), rel=1e-4)
    up, down = (acquisition(mean, deviation + each, 0.4)[0] for each in (step, -step))
    assert by_deviation == pytest.approx((up - down) / (2 * step), rel=1e-4, abs=1e-6)
