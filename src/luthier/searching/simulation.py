"""A search against a function instead of training, with a clock of its own and any number of workers.

Jobs end in the order of their simulated time; whoever is free then asks as a real worker would, and whoever was told to
wait asks again after the next job's end. One seed and one worker: always the same sequence.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from luthier.searching.choosing import settle
from luthier.searching.proposing import Start, propose
from luthier.searching.samplers import Sampler
from luthier.searching.schedulers import Promote, Scheduler, Wait
from luthier.trials.history import History, Rung, Terms, Trial, Values
from luthier.trials.space import Space


@dataclass(frozen=True)
class Outcome:
    """What a trial shows at one place of its course."""

    values: tuple[float, ...]
    """One for each objective; lower is better."""
    seconds: float = 1.0
    """From the trial's beginning to this place, without pauses; a stretch takes the difference."""
    excess: tuple[float, ...] = ()
    """For each constraint by how much it is broken."""
    end: Literal["judged", "failed", "interrupted"] = "judged"
    """An interrupted trial is paused where it stood before, and has its way still to go."""


Objective = Callable[[Values, int], Outcome]
"""Of a trial's values and the units since its beginning."""


@dataclass(frozen=True)
class Event:
    """The end of a job."""

    seconds: float
    """On the simulated clock."""
    units: int
    """Spent by all jobs that have ended, this one too."""
    trial: Trial
    """As it stands now; its last rung is the job's, unless it failed or was interrupted."""


@dataclass(frozen=True)
class Simulation:
    """A search from its beginning to its end."""

    events: tuple[Event, ...]
    history: History
    terms: Terms

    def curve(self, *, at: int | None = None) -> tuple[tuple[Event, float], ...]:
        """The best value of the first objective so far, whenever it improved, among feasible trials that were judged.

        `at`: only what was judged at so many units counts, such as the horizon.
        """
        found: list[tuple[Event, float]] = []
        for event in self.events:
            rung = event.trial.last
            if event.trial.state == "failed" or rung is None or not rung.is_feasible:
                continue
            is_better = not found or rung.values[0] < found[-1][1]
            if at in (None, rung.resource) and is_better and rung.values[0] == rung.values[0]:
                found.append((event, rung.values[0]))
        return tuple(found)

    def best(self, *, at: int | None = None, units: float | None = None, seconds: float | None = None) -> float | None:
        """The best value when so many units were spent, or so many seconds had passed; None: there was none yet."""
        found = [
            value
            for event, value in self.curve(at=at)
            if (units is None or event.units <= units) and (seconds is None or event.seconds <= seconds)
        ]
        return found[-1] if found else None


def simulate(
    objective: Objective,
    space: Space,
    sampler: Sampler,
    scheduler: Scheduler,
    terms: Terms,
    *,
    num_workers: int = 1,
    seed: int = 0,
    first: Values | None = None,
    earlier: tuple[Trial, ...] = (),
) -> Simulation:
    """Searches until nothing is left to do. `first`: the values of trial 0; `earlier`: what samplers know before."""
    sampler, scheduler = settle(sampler, scheduler, space, terms)
    history, clock, units = History(earlier=earlier), 0.0, 0
    events: list[Event] = []
    waiting = list(range(num_workers))
    running: list[tuple[float, int, int, int, Trial]] = []  # its end, the job's number, worker, units, the trial then
    while True:
        asking, waiting = waiting, []
        for worker in asking:
            job = propose(history, space, sampler, scheduler, terms, seed=seed, first=first)
            if isinstance(job, Start | Promote):
                before, history = _claimed(history, job)
                trial = history.trials[before.number]
                outcome = objective(trial.values, trial.target)
                lasts = max(0.0, outcome.seconds - (before.last.seconds if before.last else 0.0))
                ended = _ended(trial, outcome, terms)
                cost = trial.target - before.target
                heapq.heappush(running, (clock + lasts, len(events) + len(running), worker, cost, ended))
            elif isinstance(job, Wait):
                waiting.append(worker)
        if not running:
            return Simulation(tuple(events), history, terms)
        clock, _, worker, cost, trial = heapq.heappop(running)
        units += cost
        history = _with(history, trial)
        events.append(Event(clock, units, trial))
        waiting = [worker, *waiting]


def _claimed(history: History, job: Start | Promote) -> tuple[Trial, History]:
    """The trial as it was, and the history in which it runs."""
    if isinstance(job, Start):
        before = Trial(len(history.trials), job.values, "running", 0, job.bracket)
    else:
        before = history.trials[job.number]
    return before, _with(history, replace(before, state="running", target=job.until))


def _ended(trial: Trial, outcome: Outcome, terms: Terms) -> Trial:
    """A running trial after its job."""
    if outcome.end != "judged":
        return replace(trial, state="failed" if outcome.end == "failed" else "paused")
    rung = Rung(trial.target, outcome.values, outcome.seconds, outcome.excess)
    is_whole = trial.target >= terms.horizon
    return replace(trial, state="done" if is_whole else "paused", rungs=(*trial.rungs, rung))


def _with(history: History, trial: Trial) -> History:
    """The history with a trial in its place, new or changed."""
    trials = history.trials
    return replace(history, trials=(*trials[: trial.number], trial, *trials[trial.number + 1 :]))
