"""What every metric does: it streams, it is best when all is right, and its interval lies around it."""

import numpy as np
import pytest

from luthier.evaluation.bootstrap import interval, paired_difference
from luthier.evaluation.metrics import Metric
from luthier.evaluation.score import value
from tests.contracts.answers import BEST, Answers
from tests.contracts.answers import answers as made
from tests.contracts.kinds import all_of, kind_of

every_metric = pytest.mark.parametrize("metric", all_of("metrics"), ids=kind_of)


def answers(metric: Metric, num_rows: int = 60, **said: float) -> Answers:
    return made(metric.kind(), num_rows, **said)


@every_metric
def test_statistics_of_two_halves_are_those_of_the_whole(metric: Metric) -> None:
    predictions, references = answers(metric)
    whole = metric.rows(predictions, references)
    halves = np.concatenate([metric.rows(predictions[s], references[s]) for s in (slice(0, 25), slice(25, None))])
    assert len(whole) == 60
    np.testing.assert_array_equal(whole, halves)
    assert metric.value(halves) == metric.value(whole)


@every_metric
def test_the_order_of_rows_does_not_matter(metric: Metric) -> None:
    stats = metric.rows(*answers(metric))
    shuffled = stats[np.random.default_rng(0).permutation(len(stats))]
    assert metric.value(shuffled) == pytest.approx(metric.value(stats), rel=1e-12)


@every_metric
def test_the_best_value_is_that_of_right_answers(metric: Metric) -> None:
    best = BEST.get(metric.kind(), 1.0)
    assert value(metric, *answers(metric, wrong=0.0)) == pytest.approx(best, abs=1e-12)
    worse = value(metric, *answers(metric, wrong=1.9))
    assert worse < best if metric.higher_is_better else worse > best


@every_metric
def test_more_errors_are_never_better(metric: Metric) -> None:
    values = [value(metric, *answers(metric, 2000, wrong=wrong)) for wrong in (0.0, 1.5, 1.9)]
    assert values == sorted(values, reverse=metric.higher_is_better)
    assert values[0] != values[2]


@every_metric
def test_the_interval_lies_around_the_value_and_narrows_with_rows(metric: Metric) -> None:
    widths = []
    for num_rows in (50, 800):
        found, low, high = interval(metric, metric.rows(*answers(metric, num_rows, wrong=1.7)), num_resamples=200)
        assert low < found < high
        assert found == value(metric, *answers(metric, num_rows, wrong=1.7))
        widths.append(high - low)
    assert 2 < widths[0] / widths[1] < 8  # sixteen times the rows: four times narrower


@every_metric
def test_the_interval_is_the_same_every_time(metric: Metric) -> None:
    stats = metric.rows(*answers(metric))
    assert interval(metric, stats, num_resamples=50) == interval(metric, stats, num_resamples=50)


@every_metric
def test_a_model_does_not_differ_from_itself(metric: Metric) -> None:
    stats = metric.rows(*answers(metric))
    assert paired_difference(metric, stats, stats, num_resamples=20) == (0.0, 0.0, 0.0)


@every_metric
def test_a_clear_difference_is_told_from_chance(metric: Metric) -> None:
    good, poor = (metric.rows(*answers(metric, 300, wrong=wrong)) for wrong in (0.5, 1.95))
    found, low, high = paired_difference(metric, good, poor, num_resamples=100)
    assert low <= found <= high
    assert low > 0 if metric.higher_is_better else high < 0
