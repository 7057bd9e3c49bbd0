"""The order of trials: constraints first, then values, fronts and crowding, then numbers."""

import math
import random
from itertools import permutations

import pytest

from luthier.trials.history import Rung, Trial
from luthier.trials.ranking import nums_better, nums_surely_before, pareto_front, ranked


def trial(number: int, *values: float, excess: tuple[float, ...] = ()) -> Trial:
    rungs = (Rung(1, values, 1.0, excess),) if values else ()
    return Trial(number, {}, "paused" if values else "failed", 1, rungs=rungs)


def order(*trials: Trial) -> list[int]:
    return [each.number for each in ranked(trials, 1)]


def test_the_lowest_value_is_first_nan_is_the_worst_and_a_trial_that_was_not_judged_is_last() -> None:
    assert order(trial(0), trial(1, math.nan), trial(2, 3.0), trial(3, math.inf), trial(4, -1.0)) == [4, 2, 1, 3, 0]


def test_equal_trials_keep_the_order_of_their_numbers() -> None:
    assert order(trial(2, 1.0), trial(0, 1.0), trial(1, 1.0)) == [0, 1, 2]


def test_who_holds_the_constraints_is_first_and_then_who_breaks_them_least_in_all() -> None:
    broken_twice = trial(0, 0.0, excess=(0.5, 0.5))
    broken_once = trial(1, 1.0, excess=(0.75, -9.0))
    holds = trial(2, 2.0, excess=(0.0, -1.0))
    unknown = trial(3, -1.0, excess=(math.nan, 0.0))
    assert order(broken_twice, broken_once, holds, unknown) == [2, 1, 0, 3]


def test_fronts_come_in_order_and_in_a_front_the_loneliest() -> None:
    """Worked by hand: front (0, 4), (1, 2), (1.5, 1.5), (4, 0), whose inner ones have a crowding distance of
    1.5 / 4 + 2.5 / 4 = 1 and 3 / 4 + 2 / 4 = 1.25; then (2, 2), which (1.5, 1.5) dominates; then (3, 3)."""
    points = [(3.0, 3.0), (1.0, 2.0), (2.0, 2.0), (4.0, 0.0), (1.5, 1.5), (0.0, 4.0)]
    assert order(*(trial(number, *point) for number, point in enumerate(points))) == [3, 5, 4, 1, 2, 0]


def test_crowding_is_that_of_a_reference() -> None:
    """Optuna's NSGA-II sorts a front of one rank by the same distance."""
    crowding = pytest.importorskip("optuna.samplers.nsgaii._elite_population_selection_strategy")
    from optuna.trial import create_trial

    points = [(0.0, 1.0), (0.1, 0.7), (0.2, 0.65), (0.5, 0.3), (0.55, 0.2), (1.0, 0.0)]
    theirs = [create_trial(values=point) for point in points]
    for number, each in enumerate(theirs):
        each.number = number
    crowding._crowding_distance_sort(theirs)
    found = order(*(trial(number, *point) for number, point in enumerate(points)))
    assert [each.number for each in theirs][2:] == found[2:]  # the two ends are both infinitely far
    assert {each.number for each in theirs[:2]} == set(found[:2]) == {0, 5}


def before(*trials: Trial) -> dict[int, int]:
    return nums_surely_before(trials, 1)


def test_one_is_surely_before_another_only_where_further_trials_cannot_change_it() -> None:
    assert before(trial(1, 1.0), trial(0, 1.0), trial(2, 0.5)) == {2: 0, 0: 1, 1: 2}
    assert before(trial(1, 1.0, 2.0), trial(0, 1.0, 3.0)) == {1: 0, 0: 1}
    assert before(trial(0, 0.0, 2.0), trial(1, 1.0, 1.0)) == {0: 0, 1: 0}  # crowding says which
    assert before(trial(0, 1.0, 1.0), trial(1, 1.0, 1.0)) == {0: 0, 1: 0}
    assert before(trial(1, 9.0, excess=(0.0,)), trial(0, 0.0, excess=(0.1,))) == {1: 0, 0: 1}
    assert before(trial(1, 9.0, 9.0, excess=(0.0,)), trial(0, 0.0, 0.0, excess=(0.1,))) == {1: 0, 0: 1}
    assert before(trial(1, math.nan), trial(0)) == {1: 0}  # the other one was not judged


def test_of_several_objectives_those_are_better_that_dominate() -> None:
    values = [(1.0, 1.0), (2.0, 2.0), (0.0, 3.0), (2.0, 3.0)]
    assert nums_better([Rung(1, each, 1.0) for each in values]) == [0, 1, 0, 3]
    assert nums_better([Rung(1, (each,), 1.0) for each in (2.0, 1.0, 2.0, 3.0)]) == [0, 0, 1, 3]


def test_fronts_are_those_that_comparing_each_with_each_gives() -> None:
    draw = random.Random(0)
    trials = [
        trial(number, draw.randint(0, 9), draw.randint(0, 9), excess=(draw.choice([0.0, 0.0, 1.0]),))
        for number in range(60)
    ]
    found = ranked(trials, 1)
    places = {each.number: place for place, each in enumerate(found)}
    for one, other in permutations(trials, 2):
        (a, b), (c, d) = one.rungs[0].values, other.rungs[0].values
        dominates = a <= c and b <= d and (a, b) != (c, d)
        by_excess = one.rungs[0].excess, other.rungs[0].excess
        if by_excess[0] < by_excess[1] or (by_excess[0] == by_excess[1] and dominates):
            assert places[one.number] < places[other.number]


def test_the_front_holds_every_feasible_trial_that_none_dominates_equal_ones_too() -> None:
    trials = [
        trial(0, 1.0, 1.0),
        trial(1, 0.0, 2.0),
        trial(2, 1.0, 1.0),
        trial(3, 1.0, 2.0),
        trial(4, 0.0, 0.0, excess=(0.1,)),
        trial(5, math.nan, 0.0),
        trial(6),
    ]
    assert [each.number for each in pareto_front(trials, 1)] == [0, 1, 2]
    assert pareto_front([], 1) == []
