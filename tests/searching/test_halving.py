"""One bracket for the whole budget, rung by rung."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from luthier.searching.samplers.random import Random
from luthier.searching.schedulers import Begin, End, Promote, Wait
from luthier.searching.schedulers._brackets import Bracket, widest
from luthier.searching.schedulers.halving import Halving
from luthier.searching.simulation import Outcome, simulate
from luthier.trials.history import History, Rung, Terms, Trial, Values
from luthier.trials.space import Space

SPACE = Space.of({"x": {"uniform": [0, 1]}})


def judged(number: int, value: float, *, target: int = 1, state: str = "paused", bracket: int = 0) -> Trial:
    rungs = [Rung(resource, (value,), 1.0 * resource) for resource in (1, 3, 9) if resource <= target]
    return Trial(number, {"x": value}, state, target, bracket, tuple(rungs))  # type: ignore[arg-type]


def test_a_bracket_costs_the_increments_of_its_rungs() -> None:
    """27 trials from 1 of 9 units at eta 3: 27 of 1, 9 of 2 more, 3 of 6 more."""
    bracket = Bracket(27, 1, Terms(9, 3, 0))
    assert (bracket.rungs, bracket.sizes, bracket.cost) == ((1, 3, 9), (27, 9, 3), 27 + 9 * 2 + 3 * 6)


@given(eta=st.integers(2, 4), num_rungs=st.integers(1, 4), units=st.integers(0, 500))
def test_as_many_start_as_the_budget_pays_for_and_one_more_is_not_paid_for(
    eta: int, num_rungs: int, units: int
) -> None:
    terms = Terms(eta ** (num_rungs - 1), eta, units)
    found = widest(1, units, terms)
    if found is None:
        assert Bracket(terms.horizon, 1, terms).cost > units
    else:
        assert found.cost <= units < Bracket(found.num_trials + 1, 1, terms).cost


def test_the_plan_starts_higher_where_the_lowest_rung_would_finish_none() -> None:
    halving = Halving()
    plans = {units: halving.plan(units, Terms(9, 3, units)) for units in (180, 21, 20, 14, 8)}
    assert {units: [(b.num_trials, b.first) for b in plan] for units, plan in plans.items()} == {
        180: [(80, 1)],  # 80 + 26 * 2 + 8 * 6
        21: [(9, 1)],  # 9 + 3 * 2 + 6
        20: [(4, 3)],  # 4 * 3 + 6
        14: [(1, 9)],
        8: [],
    }


def test_nobody_goes_on_before_the_rung_is_complete_and_then_the_best_do() -> None:
    terms, halving = Terms(9, 3, 21), Halving()
    values = [5.0, 3.0, 8.0, 1.0, 7.0, 2.0, 9.0, 6.0]
    early = History(tuple(judged(number, value) for number, value in enumerate(values)))
    assert halving.decide(early, terms) == Begin(1, 0)
    running = History((*early.trials, Trial(8, {}, "running", 1)))
    assert halving.decide(running, terms) == Wait()
    full = History((*early.trials, judged(8, 4.0)))
    assert list(halving.options(full, terms))[:3] == [Promote(number, 3) for number in (3, 5, 1)]


def test_a_failed_trial_is_of_its_rung_and_takes_nobodys_place() -> None:
    terms = Terms(3, 3, 11)  # 5 + 1 * 2 = 7, 6 + 2 * 2 = 10
    trials = [judged(number, float(number)) for number in range(4)]
    failed = [Trial(number, {}, "failed", 1) for number in (4, 5)]
    history = History((*trials, *failed))
    assert [o for o in Halving().options(history, terms) if isinstance(o, Promote)][:2] == [
        Promote(0, 3),
        Promote(1, 3),
    ]


def test_what_failed_trials_leave_goes_into_a_further_bracket() -> None:
    def fails_at_first(values: Values, resource: int) -> Outcome:
        fails_at_first.calls += 1  # type: ignore[attr-defined]
        return Outcome((float(values["x"]),), end="failed" if fails_at_first.calls <= 9 else "judged")  # type: ignore[attr-defined]

    fails_at_first.calls = 0  # type: ignore[attr-defined]
    found = simulate(fails_at_first, SPACE, Random(), Halving(), Terms(9, 3, 21))
    brackets = Counter(trial.bracket for trial in found.history.trials)
    assert brackets == {0: 9, 1: 1}  # 12 units are left: a full run
    assert found.history.trials[9].state == "done"


def test_a_remainder_finishes_the_best_that_waits_at_the_highest_rung() -> None:
    """41 units: 17 trials and 5 of them at 3 units, 1 whole: 33; of the 8 that are left, 6 finish the second best."""
    found = simulate(lambda v, u: Outcome((float(v["x"]),), float(u)), SPACE, Random(), Halving(), Terms(9, 3, 41))
    assert Counter(trial.target for trial in found.history.trials) == {1: 12, 3: 3, 9: 2}
    best = sorted(found.history.trials, key=lambda trial: float(trial.values["x"]))[:2]
    assert all(trial.state == "done" for trial in best)
    assert found.events[-1].trial.number == best[1].number
    assert found.history.committed == 39


def test_a_budget_below_a_full_run_is_searched_up_to_the_longest_run_that_it_pays_for() -> None:
    found = simulate(lambda v, u: Outcome((float(v["x"]),), float(u)), SPACE, Random(), Halving(), Terms(9, 3, 5))
    assert [trial.target for trial in found.history.trials].count(3) == 1
    assert len(found.history.trials) == 3


def test_those_below_the_cut_are_hopeless_but_the_one_that_a_remainder_would_finish() -> None:
    terms, halving = Terms(9, 3, 21), Halving()
    trials = [judged(number, float(number)) for number in range(9)]
    assert halving.hopeless(History(tuple(trials[:3])), terms) == set()
    # Three go on: from the fourth on nobody does, though the rung is not complete; one of them may be finished later.
    assert halving.hopeless(History(tuple(trials[:6])), terms) == {5}
    gone_on = [
        judged(number, float(number), target=9 if number == 0 else 3 if number < 3 else 1) for number in range(9)
    ]
    gone_on[0] = judged(0, 0.0, target=9, state="done")
    over = History(tuple(gone_on))
    assert halving.decide(over, terms) == End()
    assert halving.hopeless(over, terms) == {1, 2, 3, 4, 5, 6, 7, 8}  # nothing is left
