"""The simulated clock: who is free asks, who waits is woken, and what is told of a search."""

import pytest

from luthier.searching.proposing import trial_seed
from luthier.searching.samplers.grid import Grid
from luthier.searching.samplers.random import Random
from luthier.searching.schedulers import Scheduler
from luthier.searching.schedulers.asha import Asha
from luthier.searching.schedulers.full import Full
from luthier.searching.schedulers.halving import Halving
from luthier.searching.simulation import Outcome, Simulation, simulate
from luthier.trials.history import History, Terms, Values
from luthier.trials.space import Space

SPACE = Space.of({"x": {"choice": [1.0, 2.0, 3.0, 4.0, 5.0]}})
WIDE = Space.of({"x": {"uniform": [1, 5]}})


def slow_where_high(values: Values, resource: int) -> Outcome:
    """Takes x seconds a unit, and shows x + 1 / resource."""
    return Outcome((float(values["x"]) + 1 / resource,), float(values["x"]) * resource)


def times(found: Simulation) -> list[tuple[float, int, int]]:
    return [(event.seconds, event.trial.number, event.units) for event in found.events]


def test_workers_take_the_next_trial_when_their_own_is_over() -> None:
    """Full runs of 1, 2, 3, 4, 5 seconds on two workers: one works 1 + 3 + 5 s, the other 2 + 4 s."""
    found = simulate(slow_where_high, SPACE, Grid(), Full(), Terms(1, 3, 9), num_workers=2)
    assert times(found) == [(1.0, 0, 1), (2.0, 1, 2), (4.0, 2, 3), (6.0, 3, 4), (9.0, 4, 5)]
    assert all(trial.state == "done" for trial in found.history.trials)


def test_who_waits_is_woken_by_the_next_end_and_a_promotion_takes_the_difference_only() -> None:
    """Three trials to 1 unit; the third is over after 3 s, and the best goes on by 2 units of 1 s."""
    found = simulate(slow_where_high, SPACE, Grid(), Halving(), Terms(3, 3, 5), num_workers=3)
    assert times(found) == [(1.0, 0, 1), (2.0, 1, 2), (3.0, 2, 3), (5.0, 0, 5)]
    assert [(rung.resource, rung.seconds) for rung in found.history.trials[0].rungs] == [(1, 1.0), (3, 3.0)]


def test_the_first_trial_has_the_values_that_are_given() -> None:
    given = {"x": 2.5, "not in the space": "so"}
    found = simulate(slow_where_high, SPACE, Grid(), Full(), Terms(1, 3, 2), first=given)
    assert found.history.trials[0].values == given
    assert found.history.trials[1].values == {"x": "1.0"}


def test_a_failed_trial_keeps_its_rungs_and_what_it_was_given_is_spent() -> None:
    def fails_late(values: Values, resource: int) -> Outcome:
        return Outcome((0.0,), float(resource), end="failed" if resource > 1 else "judged")

    found = simulate(fails_late, WIDE, Random(), Asha(), Terms(3, 3, 3))
    trial = found.history.trials[0]
    assert (trial.state, trial.target, trial.resource, found.history.committed) == ("failed", 3, 1, 3)


def test_an_interrupted_trial_goes_on_first_and_is_paid_once() -> None:
    ends = iter(["interrupted", "interrupted", "judged", "judged"])
    found = simulate(
        lambda values, resource: Outcome((0.0,), 1.0, end=next(ends)), WIDE, Random(), Full(), Terms(1, 3, 2)
    )  # type: ignore[arg-type]
    assert [event.trial.number for event in found.events] == [0, 0, 0, 1]
    assert [event.units for event in found.events] == [1, 1, 1, 2]


def test_the_best_value_is_told_by_units_by_seconds_and_by_how_far_trials_were() -> None:
    given = iter([4.0, 2.0, 1.0])

    def worse_when_longer(values: Values, resource: int) -> Outcome:
        return Outcome((next(given) if resource == 1 else 3.0,), 2.0 * resource)

    found = simulate(worse_when_longer, WIDE, Random(), Halving(), Terms(3, 3, 5))
    assert [(event.units, value) for event, value in found.curve()] == [(1, 4.0), (2, 2.0), (3, 1.0)]
    assert (found.best(), found.best(at=3)) == (1.0, 3.0)
    assert (found.best(at=3, units=4), found.best(units=2), found.best(seconds=3.9)) == (None, 2.0, 4.0)


def test_what_breaks_a_constraint_or_is_no_number_is_never_the_best() -> None:
    given = iter([(1.0, 0.5), (float("nan"), 0.0), (2.0, 0.0)])

    def objective(values: Values, resource: int) -> Outcome:
        value, excess = next(given)
        return Outcome((value,), excess=(excess,))

    found = simulate(objective, WIDE, Random(), Full(), Terms(1, 3, 3))
    assert [(event.units, value) for event, value in found.curve()] == [(3, 2.0)]


def test_one_seed_is_one_search_and_another_seed_another() -> None:
    first, again, other = (
        simulate(slow_where_high, WIDE, Random(), Asha(), Terms(9, 3, 60), seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first.history.trials[0].values != other.history.trials[0].values


def test_a_space_that_is_used_up_ends_the_search_with_one_whole_run_at_least() -> None:
    for scheduler in (Halving(), Asha()):
        found = simulate(slow_where_high, SPACE, Grid(), scheduler, Terms(9, 3, 900))
        assert len(found.history.trials) == 5
        assert found.best(at=9) == 1 + 1 / 9


@pytest.mark.parametrize(("scheduler", "expected"), [(Asha(), {True}), (Full(), {False})])
def test_a_sampler_is_told_whether_it_proposes_a_look(scheduler: Scheduler, expected: set[bool]) -> None:
    told = set[bool]()

    class Listening(Random):
        def suggest(self, space: Space, history: History, *, seed: int) -> Values | None:
            told.add(history.is_for_look)
            return super().suggest(space, history, seed=seed)

    done = simulate(slow_where_high, WIDE, Listening(), scheduler, Terms(9, 3, 45))
    assert told == expected
    assert not done.history.is_for_look


def test_trials_have_seeds_of_their_own() -> None:
    seeds = [trial_seed(seed, number) for seed in range(20) for number in range(20)]
    assert len(set(seeds)) == 400
    assert all(0 <= each < 2**33 for each in seeds)
