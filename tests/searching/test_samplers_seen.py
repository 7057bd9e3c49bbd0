"""What a model sees of trials that were judged at different rungs."""

import pytest

from luthier.searching.samplers._seen import Rule, highest, seen, steps
from luthier.trials.history import History, Rung, Trial
from luthier.trials.space import Space

SPACE = Space.of({"a": {"uniform": [0, 1]}})


def trial(number: int, *scores: float, state: str = "paused", value: float | None = None) -> Trial:
    rungs = tuple(Rung(3**place, (score,), 1.0) for place, score in enumerate(scores))
    values = {"a": number / 100 if value is None else value}
    return Trial(number, values, state, 3 ** max(0, len(scores) - 1), rungs=rungs)  # type: ignore[arg-type]


def scores(rule: Rule, *trials: Trial, earlier: tuple[Trial, ...] = ()) -> list[float]:
    return [point.scores[0] for point in seen(SPACE, History(trials, earlier), rule).points]


def test_last_values_are_brought_to_the_highest_rung_by_the_median_steps() -> None:
    trials = trial(0, 10.0, 6.0, 5.0), trial(1, 9.0, 5.0), trial(2, 8.0, 2.0), trial(3, 12.0)
    assert steps(trials) == {1: (-5.0,), 3: (-1.0,), 9: (0.0,)}  # -4 (of -4, -4, -6), then -1
    assert scores("last", *trials) == [5.0, 4.0, 1.0, 7.0]


def test_what_a_constraint_is_short_of_the_highest_rung_is_added_likewise() -> None:
    """Seconds as a share of 10 that are allowed: 2, 6 and 18 of one trial; of another 5 at the first rung."""
    whole = Trial(0, {"a": 0.1}, "done", 9, rungs=tuple(Rung(r, (1.0,), 1.0, (2 * r / 10 - 1,)) for r in (1, 3, 9)))
    short = Trial(1, {"a": 0.2}, "paused", 1, rungs=(Rung(1, (1.0,), 1.0, (-0.5,)),))
    points = seen(SPACE, History((whole, short)), "last").points
    assert [point.excess[0] for point in points] == pytest.approx([0.8, -0.5 + 1.6])


def test_a_rung_that_nobody_shares_with_the_next_is_taken_as_it_is() -> None:
    alone = Trial(1, {"a": 0.5}, "done", 9, rungs=(Rung(9, (1.0,), 1.0),))
    assert scores("last", trial(0, 4.0), alone) == [4.0, 1.0]


def test_the_highest_rung_with_enough_trials_counts_alone() -> None:
    trials = [trial(number, 10.0 + number, 5.0 + number) for number in range(3)]
    assert highest([*trials, trial(3, 1.0, 1.0, 1.0)], least=3) == 3
    assert scores("highest", *trials, trial(3, 1.0, 0.5, 0.2), trial(4, 7.0)) == [5.0, 6.0, 7.0, 0.5]


def test_the_highest_rung_counts_from_three_trials_more_than_parameters() -> None:
    """BOHB: N_min + 2 trials, and N_min is one more than the parameters; here 1 + 1 + 2."""
    whole = [trial(number, 9.0, 8.0, 1.0 + number) for number in range(4)]
    assert scores("highest", *whole, trial(4, 7.0)) == [1.0, 2.0, 3.0, 4.0]
    assert scores("highest", *whole[:3], trial(3, 7.0, 6.0)) == [8.0, 8.0, 8.0, 6.0]


def test_every_rung_has_its_place_by_its_logarithm() -> None:
    points = seen(SPACE, History((trial(0, 3.0, 2.0, 1.0),)), "every").points
    assert [point.place for point in points] == pytest.approx([0.0, 0.5, 1.0])


@pytest.mark.parametrize("rule", ["last", "highest", "every"])
def test_a_trial_that_failed_is_as_bad_as_the_worst(rule: Rule) -> None:
    failed = trial(2, state="failed")
    assert scores(rule, trial(0, 3.0), trial(1, 7.0), failed) == [3.0, 7.0, 7.0]
    assert scores(rule, failed) == []


@pytest.mark.parametrize("rule", ["last", "highest", "every"])
def test_a_trial_without_a_value_or_outside_the_space_is_passed_over(rule: Rule) -> None:
    assert scores(rule, Trial(0, {}, "done", 1, rungs=(Rung(1, (1.0,), 1.0),)), trial(1, 2.0, value=3.0)) == []


def test_running_trials_are_pending_and_earlier_searches_are_seen_first() -> None:
    running = trial(1, 2.0, state="running")
    found = seen(SPACE, History((trial(0, 1.0), running), (trial(0, 5.0),)), "every")
    assert [point.scores[0] for point in found.points] == [5.0, 1.0, 2.0]
    assert found.pending == (running.values,)


@pytest.mark.parametrize("rule", ["last", "highest", "every"])
def test_constraints_of_an_earlier_search_that_had_others_are_not_these_ones(rule: Rule) -> None:
    def limited(number: int, *excess: float, state: str = "done") -> Trial:
        return Trial(number, {"a": number / 100}, state, 1, rungs=(Rung(1, (1.0,), 1.0, excess),))  # type: ignore[arg-type]

    earlier = (limited(0), limited(1, 5.0, 6.0), limited(2, state="failed"))
    own = (limited(3, 0.5), limited(4, -0.5), limited(5, 1.5))
    points = seen(SPACE, History(own, earlier), rule).points
    assert [(point.excess, point.is_measured) for point in points[:2]] == [((0.5,), False)] * 2
    assert [(point.excess, point.is_measured) for point in points[2:5]] == [((e,), True) for e in (0.5, -0.5, 1.5)]
    assert [len(point.excess) for point in points] == [1] * 6
    assert all(point.excess == () for point in seen(SPACE, History((limited(3),), earlier), rule).points)
