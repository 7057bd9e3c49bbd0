"""Who is stopped at a rung, and who is not."""

from luthier.searching.samplers.random import Random
from luthier.searching.schedulers import Begin, Promote
from luthier.searching.schedulers.median import Median
from luthier.searching.simulation import Outcome, simulate
from luthier.trials.history import History, Rung, Terms, Trial
from luthier.trials.space import Space

TERMS = Terms(9, 3, 900)


def judged(number: int, value: float, *, target: int = 1, state: str = "paused") -> Trial:
    rungs = [Rung(resource, (value,), 1.0 * resource) for resource in (1, 3, 9) if resource <= target]
    return Trial(number, {"x": value}, state, target, 0, tuple(rungs))  # type: ignore[arg-type]


def whole(*values: float) -> list[Trial]:
    return [judged(number, value, target=9, state="done") for number, value in enumerate(values)]


def decided(*trials: Trial, grace: int = 2) -> object:
    return Median(grace=grace).decide(History(trials), TERMS)


def test_a_trial_that_more_than_half_of_those_before_it_beat_is_stopped() -> None:
    before = whole(1.0, 2.0, 3.0)
    assert decided(*before, judged(3, 1.5)) == Promote(3, 3)
    assert decided(*before, judged(3, 2.5)) == Begin(1)
    assert decided(*before, judged(3, 2.5, target=3)) == Begin(1)


def test_as_good_as_the_middle_goes_on() -> None:
    assert decided(*whole(1.0, 3.0), judged(2, 2.0)) == Promote(2, 3)


def test_nobody_is_stopped_before_so_many_were_judged() -> None:
    assert decided(*whole(1.0, 2.0), judged(2, 9.0), grace=3) == Promote(2, 3)
    assert decided(*whole(1.0, 2.0), judged(2, 9.0), grace=2) == Begin(1)


def test_a_stopped_trial_stays_stopped_when_worse_ones_follow() -> None:
    later = [judged(number, 5.0 + number) for number in range(4, 12)]
    assert decided(*whole(1.0, 2.0, 3.0), judged(3, 2.5), *later) == Begin(1)
    assert Median(grace=2).hopeless(History((*whole(1.0, 2.0, 3.0), judged(3, 2.5))), TERMS) == {3}


def test_a_stopped_trial_has_hope_while_slow_ones_before_it_may_yet_be_worse() -> None:
    """Two of three before it are better; the fourth and fifth, which run, could make it two of five."""
    slow = [Trial(number, {}, "running", 1) for number in (3, 4)]
    history = History((*whole(1.0, 2.0, 3.0), *slow, judged(5, 2.5)))
    assert Median(grace=2).hopeless(history, TERMS) == set()
    arrived = History((*whole(1.0, 2.0, 3.0), judged(3, 4.0), judged(4, 5.0), judged(5, 2.5)))
    assert Promote(5, 3) in list(Median(grace=2).options(arrived, TERMS))


def test_whatever_is_begun_and_not_stopped_is_paid_to_its_end() -> None:
    """With nobody worse than another nobody is stopped, and 16 workers begin as many as are paid for: 100 // 9."""

    def equal(values: object, resource: int) -> Outcome:
        return Outcome((0.0,), float(resource))

    space = Space.of({"x": {"uniform": [0, 1]}})
    found = simulate(equal, space, Random(), Median(grace=1), Terms(9, 3, 100), num_workers=16)
    assert [trial.state for trial in found.history.trials] == ["done"] * 11
