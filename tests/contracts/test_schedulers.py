"""What every scheduler does, whatever trials show, however many workers ask, and whatever fails or is interrupted."""

import json
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

import pytest

from luthier.searching.samplers.random import Random
from luthier.searching.schedulers import Begin, Decision, End, Promote, Scheduler, Wait
from luthier.searching.schedulers._ends import within_reach
from luthier.searching.schedulers.asha import Asha
from luthier.searching.simulation import Outcome, Simulation, simulate
from luthier.trials.history import History, Rung, Terms, Trial, Values
from luthier.trials.space import Space
from tests.contracts.kinds import all_of, kind_of

every_scheduler = pytest.mark.parametrize("scheduler", all_of("schedulers"), ids=kind_of)
HALVING = ("halving", "hyperband", "bohb", "asha")
COUNTED = [each for each in all_of("schedulers") if each.kind() in HALVING and each != Asha(cost_aware=True)]


@dataclass(frozen=True)
class Case:
    """A search in which much goes wrong."""

    eta: int
    num_rungs: int
    units: int
    num_workers: int
    num_settings: int
    """Of the space; few are soon used up."""
    num_objectives: int
    failing: float
    interrupted: float
    seed: int

    @property
    def terms(self) -> Terms:
        return Terms(self.eta ** (self.num_rungs - 1), self.eta, self.units, self.num_objectives)

    @property
    def space(self) -> Space:
        return Space.of({"x": {"int": [1, self.num_settings]}})


def drawn(seed: int) -> Case:
    """One of many, of all sizes."""
    draw = random.Random(seed)
    return Case(
        eta=draw.randint(2, 4),
        num_rungs=draw.randint(1, 4),
        units=draw.choice([0, draw.randint(1, 10), draw.randint(10, 40), draw.randint(40, 70)]),
        num_workers=draw.choice([1, 3, 16]),
        num_settings=draw.choice([2, 7, 10**6, 10**6, 10**6]),
        num_objectives=draw.choice([1, 1, 2]),
        failing=draw.choice([0.0, 0.0, 0.2, 0.9]),
        interrupted=draw.choice([0.0, 0.0, 0.3]),
        seed=seed,
    )


NUM_CASES = 40
CASES = [drawn(seed) for seed in range(NUM_CASES)]


@dataclass
class Watched:
    """A scheduler whose decisions are kept, with what it knew."""

    inner: Scheduler
    seen: list[tuple[History, Decision, bool]] = field(default_factory=list)
    advises: None = None
    advises_with: Mapping[str, Any] = field(default_factory=dict)

    def kind(self) -> str:
        return self.inner.kind()

    def resolved(self, space: Space, terms: Terms) -> "Watched":
        return Watched(self.inner.resolved(space, terms), self.seen)

    def decide(self, history: History, terms: Terms, *, can_begin: bool = True) -> Decision:
        decision = self.inner.decide(history, terms, can_begin=can_begin)
        self.seen.append((history, decision, can_begin))
        return decision


@cache
def searched(scheduler: Scheduler, case: Case) -> tuple[Simulation, Watched]:
    chance = random.Random(case.seed)

    def objective(values: Values, resource: int) -> Outcome:
        shown = [float(values["x"]) + chance.gauss(0, case.num_settings / 2 / resource), chance.random()]
        if chance.random() < 0.1:
            shown[0] = math.nan
        end = chance.choices(["failed", "interrupted", "judged"], [case.failing, case.interrupted, 1.1 - case.failing])[
            0
        ]
        excess = (chance.choice([-1.0, 0.0, 0.5]),)
        return Outcome(tuple(shown[: case.num_objectives]), resource * (1 + chance.random()), excess, end)  # type: ignore[arg-type]

    watched: Any = Watched(scheduler.resolved(case.space, case.terms))
    how = {"num_workers": case.num_workers, "seed": case.seed}
    return simulate(objective, case.space, Random(), watched, case.terms, **how), watched


def promotions(watched: Watched) -> Iterator[tuple[History, Promote, Trial, bool]]:
    """Every promotion of a trial that was not just interrupted."""
    for history, decision, can_begin in watched.seen:
        if isinstance(decision, Promote) and history.trials[decision.number].target < decision.until:
            yield history, decision, history.trials[decision.number], can_begin


@every_scheduler
def test_what_is_committed_never_exceeds_the_budget(scheduler: Scheduler) -> None:
    for case in CASES:
        found, watched = searched(scheduler, case)
        assert all(history.committed <= case.units for history, _, _ in watched.seen)
        assert found.history.committed <= case.units


@every_scheduler
def test_a_search_ends_with_nobody_waiting_for_nothing(scheduler: Scheduler) -> None:
    for case in CASES:
        found, watched = searched(scheduler, case)
        assert not any(trial.state == "running" for trial in found.history.trials)
        assert not any(trial.state == "paused" and trial.resource < trial.target for trial in found.history.trials)
        assert all(history.is_running for history, decision, _ in watched.seen if isinstance(decision, Wait))
        assert not any(history.is_running for history, decision, _ in watched.seen if isinstance(decision, End))


@every_scheduler
def test_only_a_paused_trial_goes_on_and_every_target_is_a_rung(scheduler: Scheduler) -> None:
    for case in CASES:
        _, watched = searched(scheduler, case)
        rungs = {case.eta**rung for rung in range(case.num_rungs)}
        for history, decision, _ in watched.seen:
            if isinstance(decision, Begin):
                assert decision.until in rungs
            elif isinstance(decision, Promote):
                trial = history.trials[decision.number]
                assert trial.state == "paused"
                assert decision.until in rungs
                assert decision.until > trial.resource


@every_scheduler
def test_a_decision_depends_on_the_history_alone(scheduler: Scheduler) -> None:
    for case in CASES:
        _, watched = searched(scheduler, case)
        for history, decision, can_begin in watched.seen[:: max(1, len(watched.seen) // 10)]:
            stored = from_json(json.loads(json.dumps(asdict(history))))
            assert watched.inner.decide(stored, case.terms, can_begin=can_begin) == decision


@every_scheduler
def test_the_same_seed_gives_the_same_search(scheduler: Scheduler) -> None:
    for case in CASES:
        assert repr(searched(scheduler, case)[0]) == repr(searched.__wrapped__(scheduler, case)[0])  # NaN is not itself


@every_scheduler
def test_a_trial_that_is_hopeless_never_goes_on(scheduler: Scheduler) -> None:
    for case in CASES:
        _, watched = searched(scheduler, case)
        given_up: frozenset[int] = frozenset()
        for place, (history, decision, _) in enumerate(watched.seen):
            if place % max(1, len(watched.seen) // 15) == 0:  # often enough, and quicker
                now = watched.inner.hopeless(history, case.terms)
                assert given_up <= now
                assert all(history.trials[number].state == "paused" for number in now)
                given_up = now
            assert not (isinstance(decision, Promote) and decision.number in given_up)


@pytest.mark.parametrize("scheduler", COUNTED, ids=kind_of)
def test_no_more_than_one_in_eta_go_on_from_a_rung_but_with_the_remainder(scheduler: Scheduler) -> None:
    for case in CASES:
        _, watched = searched(scheduler, case)
        horizon = within_reach(case.terms).horizon
        for history, _, trial, can_begin in promotions(watched):
            there = [other for other in history.in_bracket(trial.bracket) if other.target >= trial.target]
            num_gone_on = sum(other.target > trial.target for other in there) + 1
            if num_gone_on > len(there) // case.eta:
                is_remainder = case.units - history.committed < horizon
                is_first_whole = not can_begin and all(other.target < horizon for other in history.trials)
                assert is_remainder or is_first_whole


@every_scheduler
def test_less_than_the_cheapest_way_to_a_whole_run_is_left(scheduler: Scheduler) -> None:
    for case in CASES:
        found, watched = searched(scheduler, case)
        if not all(can_begin for _, _, can_begin in watched.seen):
            continue  # the space was used up first
        horizon, left = within_reach(case.terms).horizon, case.units - found.history.committed
        assert left < horizon
        if watched.inner.kind() in HALVING:
            waiting = [trial for trial in found.history.trials if trial.state == "paused" and trial.resource < horizon]
            assert all(left < horizon - trial.resource for trial in waiting)


def from_json(said: dict[str, Any]) -> History:
    def trial(each: dict[str, Any]) -> Trial:
        rungs = [Rung(r["resource"], tuple(r["values"]), r["seconds"], tuple(r["excess"])) for r in each.pop("rungs")]
        return Trial(**each, rungs=tuple(rungs))

    return History(tuple(trial(each) for each in said["trials"]), tuple(trial(each) for each in said["earlier"]))
