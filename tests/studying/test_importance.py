"""Which settings matter is found where it is known, and said to be unknown where it is not."""

import random

import pytest

from luthier.studying.importance import FEWEST, importance
from luthier.studying.standing import Standing
from luthier.trials.space import Space
from tests.studying.standings import standing, trial, whole_search

PLANE = Space.of({"a": {"uniform": [0.0, 1.0]}, "b": {"log": [1e-4, 1.0]}, "c": {"choice": ["x", "y", "z"]}})


def plane(num_trials: int, score: object, *, seed: int = 0) -> Standing:
    draw = random.Random(seed)
    trials = []
    for number in range(num_trials):
        units = [draw.random() for _ in PLANE.parameters]
        trials.append(trial(number, PLANE.values(units), [score(*units)]))  # type: ignore[operator]
    return standing(*trials, space=PLANE)


def test_shares_follow_the_variance_that_each_setting_makes() -> None:
    # 3 a + b: the variances are as 9 to 1, so that a accounts for 90 %
    found = importance(plane(120, lambda a, b, c: 3 * a + b))
    assert list(found.shares)[:2] == ["a", "b"]
    assert found.shares["a"] == pytest.approx(0.9, abs=0.06)
    assert found.shares["c"] < 0.03
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert (found.num_trials, found.resource, found.reason) == (120, 1, None)


def test_a_choice_of_words_matters_where_it_does() -> None:
    found = importance(plane(80, lambda a, b, c: float(c < 1 / 3) + 0.1 * a))
    assert next(iter(found.shares)) == "c"


def test_the_highest_place_with_trials_enough_is_taken() -> None:
    found = importance(whole_search(91))  # two for each of five parameters are needed; ten came to the end
    assert found.resource == 9
    assert next(iter(found.shares)) == "training.learning_rate"
    assert importance(whole_search(40)).resource == 3


def test_it_is_the_same_each_time() -> None:
    assert importance(whole_search(40)) == importance(whole_search(40))


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (standing(), "0 trials were judged at one place"),
        (plane(FEWEST - 1, lambda a, b, c: a), "9 trials were judged at one place, and 10 are needed"),
        (plane(20, lambda a, b, c: 0.5), "all 20 trials score the same"),
        (standing(space=Space.of({"a": {"uniform": [0.0, 1.0]}})), "a single setting is searched"),
    ],
)
def test_where_it_is_not_known_the_reason_is_told(made: Standing, reason: str) -> None:
    found = importance(made)
    assert found.reason is not None
    assert found.reason.startswith(reason)
    assert found.shares == {}
