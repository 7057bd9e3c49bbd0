"""What a free worker does next: decided and taken in one step, under the store's lock."""

import math
import re
from dataclasses import replace

from luthier.searching.choosing import settle
from luthier.searching.proposing import Job, Start, propose, trial_seed
from luthier.searching.samplers.random import Random
from luthier.searching.schedulers import Begin, End, Promote, Scheduler, Wait
from luthier.studying.entries import Entry, Snapshot
from luthier.studying.performing import PER_UNIT
from luthier.studying.plan import Plan
from luthier.studying.spending import Budget
from luthier.studying.store import Store
from luthier.trials.history import History, Terms

NUM_ALIKE = 3
"""As many trials that fail alike at the beginning speak of the recipe, not of their settings."""


def take(store: Store, worker: str) -> Entry | Wait | End:
    """A trial for the worker: begun, or gone on with to its `target`; Wait or End where there is none for it."""
    with store.lock.held():
        snapshot = store.snapshot()
        if common_failure(snapshot) is not None:
            return End()
        units = known_units(store, snapshot)
        if units is None:
            return _measured_first(store, snapshot, worker)
        plan, history = store.plan, snapshot.history
        due = _due(plan, plan.terms(units), history)
        if due is not None:
            return _claimed(store, snapshot.entries[-1], due.until, worker, bracket=due.bracket)
        job = _proposed(plan, history, units)
        if isinstance(job, End) and (more := _units_of_time_left(store, history)) is not None:
            job = _proposed(plan, history, more)
            if not isinstance(job, End):
                store.budget = replace(store.budget, units=more)
        match job:
            case Start(values, until, bracket):
                return store.begin(values, until, bracket, worker)
            case Promote(number, until):
                return _claimed(store, snapshot.entries[number], until, worker)
            case _:
                return job


def _proposed(plan: Plan, history: History, units: int) -> Job:
    terms = plan.terms(units)
    sampler, scheduler = settle(plan.sampler, plan.scheduler, plan.space, terms)
    return propose(history, plan.space, sampler, scheduler, terms, seed=plan.seed, first=plan.default)


def _units_of_time_left(store: Store, history: History) -> int | None:
    """The units of a budget in seconds, with those that it pays for still, by what a unit has taken so far.

    None where a full run is not paid for. So what is cheaper than the first trial leaves no time unused.
    """
    budget, last = store.budget, [trial.last for trial in history.trials if trial.last is not None]
    seconds = sum(rung.seconds for rung in last)
    if budget.seconds is None or not seconds:
        return None
    rate = seconds / sum(rung.resource for rung in last)
    more = math.floor((budget.seconds - store.duration) * budget.num_workers / rate)
    return history.committed + more if more >= store.plan.horizon else None


def known_units(store: Store, snapshot: Snapshot) -> int | None:
    """The budget in units; one in seconds is turned into them when the first trial was measured.

    When those are spent before the time is, more are added (`_units_of_time_left`).
    """
    budget = store.budget
    if budget.units is None and budget.seconds is not None:
        rate = _seconds_per_unit(snapshot)
        if rate is None:
            return None
        units = max(1, math.floor(budget.seconds * budget.num_workers / rate))
        store.budget = Budget(units, budget.seconds, budget.num_workers)
        return units
    assert budget.units is not None, "a budget is of units or of seconds"
    return budget.units


def common_failure(snapshot: Snapshot) -> str | None:
    """The reason for which the first trials failed, all alike but for numbers, where none came to a rung."""
    first, trials = snapshot.entries[:NUM_ALIKE], snapshot.history.trials
    if len(first) < NUM_ALIKE or any(trial.rungs for trial in trials):
        return None
    reasons = {re.sub(r"[\d.]+", "#", entry.reason or "") for entry in first}
    is_common = len(reasons) == 1 and all(entry.trial.state == "failed" for entry in first)
    return first[0].reason if is_common else None


def hopeless(store: Store, snapshot: Snapshot) -> set[int]:
    """Trials that never go on, so that their checkpoints may go: ended ones, and those that the scheduler gave up."""
    plan, history = store.plan, snapshot.history
    ended = {trial.number for trial in history.trials if trial.state in ("failed", "done")}
    units = store.budget.units
    if units is None:
        return ended
    terms = plan.terms(units)
    return ended | _scheduler(plan, terms).hopeless(history, terms)


def _measured_first(store: Store, snapshot: Snapshot, worker: str) -> Entry | Wait | End:
    """While nobody knows what a unit takes: one trial at a time, to the first place at which one is judged."""
    paused = [entry for entry in snapshot.entries if entry.trial.state == "paused"]
    if paused:
        return _claimed(store, paused[0], paused[0].trial.target, worker)
    if snapshot.history.is_running:
        return Wait()
    plan, number = store.plan, len(snapshot.entries)
    values = plan.default if number == 0 else None
    if values is None:
        values = Random().suggest(plan.space, snapshot.history, seed=trial_seed(plan.seed, number))
    return End() if values is None else store.begin(values, 1, 0, worker)


def _due(plan: Plan, terms: Terms, history: History) -> Begin | None:
    """How far the trial that was measured was to go from the start; those before it have failed."""
    if not history.trials:
        return None
    *before, last = history.trials
    if last.state != "paused" or any(trial.state != "failed" for trial in before):
        return None
    first = _scheduler(plan, terms).decide(replace(history, trials=tuple(before)), terms)
    return first if isinstance(first, Begin) and first.until > last.target else None


def _scheduler(plan: Plan, terms: Terms) -> Scheduler:
    return settle(plan.sampler, plan.scheduler, plan.space, terms)[1]


def _claimed(store: Store, entry: Entry, until: int, worker: str, *, bracket: int | None = None) -> Entry | Wait:
    return store.claim(entry, until, worker, bracket=bracket) or Wait()


def _seconds_per_unit(snapshot: Snapshot) -> float | None:
    """Of the first trial that came to a rung, there; without what is paid once, where that is known."""
    for entry in snapshot.entries:
        if entry.trial.rungs:
            rung, facts = entry.trial.rungs[0], entry.landings[0].facts
            told = facts.get(PER_UNIT, rung.seconds / rung.resource)
            return max(float(told), 1e-6)
    return None
