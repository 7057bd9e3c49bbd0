"""Median stopping: whoever is worse than half of the others does not go on. Golovin et al. 2017, "Google Vizier",
https://doi.org/10.1145/3097983.3098043.

A trial is judged at each rung against those that began before it. It is stopped where more than half of them rank
before it there, once `grace` of them have been judged. (Vizier's rule takes the mean of each course so far; here it is
the value at the rung, so that several objectives and constraints have their say.) A trial begins only if the budget
would finish it together with all that have begun and were not stopped.
"""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from luthier.searching.schedulers import Begin, Promote, Scheduler
from luthier.searching.schedulers._ends import is_on_its_way, rungs_below, waits, within_reach
from luthier.trials.history import History, Terms, Trial
from luthier.trials.ranking import is_surely_before, ranked


class Median(Scheduler):
    """Full runs, stopped at the first rung at which they are worse than the median of those before them."""

    grace: Annotated[int, Field(ge=1)] = 5
    """Trials that must have been judged at a rung before any is stopped there."""

    def options(self, history: History, terms: Terms) -> Iterator[Begin | Promote]:
        terms = within_reach(terms)
        going_on = [trial for trial in history.trials if self._goes_on(trial, history, terms)]
        for trial in sorted(going_on, key=lambda trial: (-trial.resource, trial.number)):
            yield Promote(trial.number, trial.resource * terms.eta)
        alive = [*going_on, *(trial for trial in history.trials if is_on_its_way(trial))]
        promised = sum(terms.horizon - trial.target for trial in alive)
        if terms.units - history.committed - promised >= terms.horizon:
            yield Begin(1)

    def _goes_on(self, trial: Trial, history: History, terms: Terms) -> bool:
        if not waits(trial) or trial.resource >= terms.horizon:
            return False
        judged = [other for other in history.trials[: trial.number] if other.at(trial.resource)]
        num_before = ranked([*judged, trial], trial.resource).index(trial)
        return len(judged) < self.grace or 2 * num_before <= len(judged)

    def hopeless(self, history: History, terms: Terms) -> frozenset[int]:
        """Those that are stopped, whatever the earlier trials that are on their way to the rung will show there."""
        below = rungs_below(within_reach(terms))
        waiting = [trial for trial in history.trials if waits(trial) and trial.resource in below]
        return frozenset(trial.number for trial in waiting if self._is_stopped_for_good(trial, history))

    def _is_stopped_for_good(self, trial: Trial, history: History) -> bool:
        before = history.trials[: trial.number]
        judged = [other for other in before if other.at(trial.resource)]
        num_to_come = sum(other.resource < trial.resource and other.state in ("running", "paused") for other in before)
        num_before = sum(is_surely_before(other, trial, trial.resource) for other in judged)
        return len(judged) >= self.grace and 2 * num_before > len(judged) + num_to_come
