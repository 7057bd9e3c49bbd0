"""Promotions whenever a worker is free; who waits for nothing; how it ends."""

from collections import Counter

from luthier.searching.samplers.random import Random
from luthier.searching.schedulers import Begin, Promote
from luthier.searching.schedulers.asha import Asha
from luthier.searching.simulation import Outcome, simulate
from luthier.trials.history import History, Rung, Terms, Trial
from luthier.trials.space import Space

SPACE = Space.of({"x": {"uniform": [0, 1]}})
TERMS = Terms(9, 3, 900)


def judged(number: int, value: float, *, target: int = 1, state: str = "paused", seconds: float = 1.0) -> Trial:
    rungs = [Rung(resource, (value,), seconds * resource) for resource in (1, 3, 9) if resource <= target]
    return Trial(number, {"x": value}, state, target, 0, tuple(rungs))  # type: ignore[arg-type]


def decided(*trials: Trial, scheduler: Asha | None = None, terms: Terms = TERMS) -> object:
    return (scheduler or Asha()).decide(History(trials), terms)


def test_the_best_third_goes_on_while_others_run_and_without_one_a_new_trial_begins() -> None:
    two = [judged(0, 2.0), judged(1, 1.0)]
    assert decided(*two) == Begin(1)
    assert decided(*two, Trial(2, {}, "running", 1)) == Begin(1)
    assert decided(*two, judged(2, 3.0), Trial(3, {}, "running", 1)) == Promote(1, 3)
    assert decided(*two, Trial(2, {}, "failed", 1)) == Promote(1, 3)


def test_the_highest_rung_goes_first() -> None:
    at_three = [judged(number, float(number), target=3) for number in range(3)]
    at_one = [judged(number, float(number)) for number in range(3, 15)]
    assert decided(*at_three, *at_one) == Promote(0, 9)
    assert decided(judged(0, 0.0, target=9, state="done"), *at_three[1:], *at_one) == Promote(3, 3)


def test_a_better_one_that_comes_late_waits_until_a_further_place_is_there() -> None:
    """The paper would let it go on at once, and so more than a third of the rung."""
    gone_on = judged(0, 1.0, target=3)
    others = [judged(1, 2.0), judged(2, 3.0), judged(3, 0.0)]
    assert decided(gone_on, *others) == Begin(1)
    assert decided(gone_on, *others, judged(4, 4.0), judged(5, 5.0)) == Promote(3, 3)


def test_cost_awareness_lets_as_many_go_on_as_took_a_third_of_the_time() -> None:
    """In order 1, 1, 2, 5 seconds of 9 in all: the first two took 2 <= 3, the third would make it 4."""
    trials = [
        judged(0, 3.0, seconds=5.0),
        judged(1, 0.0, seconds=1.0),
        judged(2, 2.0, seconds=2.0),
        judged(3, 1.0, seconds=1.0),
    ]
    options = list(Asha(cost_aware=True).options(History(tuple(trials)), TERMS))
    assert options[:3] == [Promote(1, 3), Promote(3, 3), Begin(1)]
    assert list(Asha().options(History(tuple(trials)), TERMS))[:2] == [Promote(1, 3), Begin(1)]
    dear = [judged(0, 0.0, seconds=5.0), judged(1, 1.0), judged(2, 2.0)]
    assert decided(*dear, scheduler=Asha(cost_aware=True)) == Begin(1)


def test_when_less_than_a_full_run_is_left_nobody_begins_and_the_best_that_waits_is_finished() -> None:
    """A trial begun with 8 of 9 units would never be whole; 6 units finish one at 3."""
    trials = [judged(0, 1.0, target=9, state="done"), judged(1, 2.0, target=3), judged(2, 3.0, target=3)]
    trials += [judged(number, 0.0) for number in range(3, 6)]
    committed = 9 + 3 + 3 + 3
    assert decided(*trials, terms=Terms(9, 3, committed + 8)) == Promote(1, 9)
    assert decided(*trials, terms=Terms(9, 3, committed + 9)) == Begin(1)


def test_the_smallest_search_finishes_the_best_of_those_that_it_can_begin() -> None:
    """12 units of 9: three begin, one goes to 3, and with 7 units left nobody begins and that one is finished."""
    found = simulate(lambda v, u: Outcome((float(v["x"]),), float(u)), SPACE, Random(), Asha(), Terms(9, 3, 12))
    assert Counter(trial.target for trial in found.history.trials) == {1: 2, 9: 1}
    best = min(found.history.trials, key=lambda trial: float(trial.values["x"]))
    assert best.state == "done"


def test_workers_never_wait_before_the_end() -> None:
    found = simulate(
        lambda v, u: Outcome((float(v["x"]),), u * float(v["x"])),
        SPACE,
        Random(),
        Asha(),
        Terms(9, 3, 360),
        num_workers=8,
    )
    work = sum(trial.rungs[-1].seconds for trial in found.history.trials)
    assert found.events[-1].seconds < 1.3 * work / 8


def test_who_is_so_far_behind_that_the_rest_of_the_budget_cannot_help_is_hopeless() -> None:
    """Twelve at 1 unit, of which four have gone to 3 and one of those to 9."""
    trials = [judged(number, float(number), target=3 if number < 4 else 1) for number in range(12)]
    trials[0] = judged(0, 0.0, target=9, state="done")
    committed = sum(trial.target for trial in trials)

    def hopeless(left: int) -> set[int]:
        return set(Asha().hopeless(History(tuple(trials)), Terms(9, 3, committed + left)))

    assert hopeless(90) == set()
    # 9 more may begin and count, so 21 // 3 = 7 go on; 4 more may come to 3 units, and 8 // 3 = 2 go on from there.
    # Of those that are passed over the third at 3 units may yet be finished.
    assert hopeless(18) == {3, 7, 8, 9, 10, 11}
    # Nobody comes any more: 4 go on from 1 unit, one from 3; of those behind the best at 3 units may be finished.
    assert hopeless(9) == hopeless(8) == {2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
    assert hopeless(5) == {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}  # and that costs 6


def test_cost_awareness_gives_nobody_up_while_seconds_may_still_come() -> None:
    trials = tuple(judged(number, float(number)) for number in range(30))
    assert Asha(cost_aware=True).hopeless(History(trials), Terms(9, 3, 60)) == set()
