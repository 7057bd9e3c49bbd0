"""Median stopping: whoever is worse than half of the others does not go on. Golovin et al. 2017, "Google Vizier",
https://doi.org/10.1145/3097983.3098043.

A trial is judged at each rung against those that began before it. It is stopped where more than half of them are better
(of several objectives: in all of them), once `grace` of them have been judged. Vizier's rule takes the mean of each
course so far; here it is the value at the rung, so that several objectives and constraints have their say. A trial
begins only if the budget would finish it together with all that have begun and were not stopped.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field

from luthier.searching.schedulers import Begin, Promote, Scheduler
from luthier.searching.schedulers._ends import is_on_its_way, rungs_below, waits, within_reach
from luthier.trials.history import History, Terms, Trial
from luthier.trials.ranking import nums_better


class Median(Scheduler):
    """Full runs, stopped at the first rung at which they are worse than the median of those before them."""

    grace: Annotated[int, Field(ge=1)] = 5
    """Trials that must have been judged at a rung before any is stopped there."""

    def options(self, history: History, terms: Terms) -> Iterator[Begin | Promote]:
        terms = within_reach(terms)
        going_on = [
            trial
            for resource in reversed(rungs_below(terms))
            for trial, num_judged, num_ahead in _standings(history.trials, resource)
            if waits(trial) and trial.resource == resource and not self._stops(num_judged, num_ahead)
        ]
        yield from (Promote(trial.number, trial.resource * terms.eta) for trial in going_on)
        alive = [*going_on, *(trial for trial in history.trials if is_on_its_way(trial))]
        promised = sum(terms.horizon - trial.target for trial in alive)
        if terms.units - history.committed - promised >= terms.horizon:
            yield Begin(1)

    def _stops(self, num_judged: int, num_ahead: int, *, num_to_come: int = 0) -> bool:
        return num_judged >= self.grace and 2 * num_ahead > num_judged + num_to_come

    def hopeless(self, history: History, terms: Terms) -> frozenset[int]:
        """Those that are stopped, whatever the earlier trials that are on their way to the rung will show there."""
        found = set()
        for resource in rungs_below(within_reach(terms)):
            later = [each.number for each in history.trials if each.resource < resource and each.state != "failed"]
            for trial, num_judged, num_ahead in _standings(history.trials, resource):
                num_to_come = bisect_left(later, trial.number)
                is_there = waits(trial) and trial.resource == resource
                if is_there and self._stops(num_judged, num_ahead, num_to_come=num_to_come):
                    found.add(trial.number)
        return frozenset(found)


def _standings(trials: Sequence[Trial], resource: int) -> Iterator[tuple[Trial, int, int]]:
    """Every trial that was judged at a rung; of those before it how many were, and how many are better."""
    judged = [(trial, rung) for trial in trials if (rung := trial.at(resource))]
    nums = nums_better([rung for _, rung in judged])
    yield from ((trial, place, num) for place, ((trial, _), num) in enumerate(zip(judged, nums, strict=True)))
