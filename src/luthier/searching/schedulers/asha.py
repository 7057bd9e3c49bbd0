"""Asynchronous successive halving, with promotions. Li et al. 2020, https://arxiv.org/abs/1810.05934.

Whenever a worker is free, a trial among the best floor(n / eta) of a rung's n that has not gone on does so, the highest
rung first; where there is none, a new trial starts at the lowest. Nobody waits. A trial that failed at a rung counts
among its n. The paper may let more than floor(n / eta) go on when better ones come later; here a rung never does.

`cost_aware`, as in Syne Tune's cost promotion (Salinas et al. 2022, https://proceedings.mlr.press/v188/salinas22a.html):
with the rung's trials in order, the best first, and c_i the seconds that each took to come there, the best K are
promoted, K the most with c_1 + ... + c_K <= (c_1 + ... + c_n) / eta: cheap trials go on more easily than dear ones.

`looks`: after this share of the budget new trials run whole, for a model that has seen where to look; they count at
every rung as trials that have gone on, so that those which wait seldom do.

When less than a full run is left, a new trial would never be finished, and the best that waits is.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field

from luthier.searching.schedulers import Begin, Promote, Scheduler
from luthier.searching.schedulers._ends import (
    finishing,
    is_on_its_way,
    never_finished,
    rungs_below,
    waits,
    within_reach,
)
from luthier.trials.history import History, Terms, Trial
from luthier.trials.ranking import nums_surely_before, ranked


class Asha(Scheduler):
    """Whoever is among the best one in eta of its rung by now goes on; nobody waits for others."""

    looks: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the budget after which new trials start with a full run, not with a short look."""
    cost_aware: bool = False
    """Counts seconds rather than trials: the best go on that took one in eta of the rung's time."""

    def options(self, history: History, terms: Terms) -> Iterator[Begin | Promote]:
        terms = within_reach(terms)
        if terms.units - history.committed >= terms.horizon:
            for resource in reversed(rungs_below(terms)):
                for trial in self._promotable(history, resource, terms):
                    yield Promote(trial.number, resource * terms.eta)
            yield Begin(1 if history.committed < self.looks * terms.units else terms.horizon)
        yield from finishing(history, terms)

    def _promotable(self, history: History, resource: int, terms: Terms) -> list[Trial]:
        """Who waits at a rung and goes on, the best first."""
        there = [trial for trial in history.trials if trial.target >= resource and not _is_coming(trial, resource)]
        num_gone_on = sum(trial.target > resource for trial in history.trials)  # those too that run whole
        if not self.cost_aware and num_gone_on >= len(there) // terms.eta:
            return []
        order = ranked(there, resource)
        num = self._num_going_on(order, resource, terms)
        waiting = [trial for trial in order[:num] if waits(trial) and trial.target == resource]
        return waiting[: max(0, num - num_gone_on)]

    def _num_going_on(self, order: Sequence[Trial], resource: int, terms: Terms) -> int:
        """How many of a rung's trials, in their order, may have gone on by now."""
        if not self.cost_aware:
            return len(order) // terms.eta
        seconds = [rung.seconds if (rung := trial.at(resource)) else 0.0 for trial in order]
        num, spent = 0, 0.0
        for each in seconds:
            spent += each
            if spent > sum(seconds) / terms.eta:
                break
            num += 1
        return num

    def hopeless(self, history: History, terms: Terms) -> frozenset[int]:
        """Those that too few can still come to their rung for.

        Of a rung's n trials floor(n / eta) go on, while a full run is left. Those on their way to it may come, and as
        many more as are paid for before less is left: the stretch from the rung below each, 1 unit to the lowest. A
        trial is passed over if that many are surely before it; when less than a full run is left, all are.
        """
        terms = within_reach(terms)
        passed = [trial for resource in rungs_below(terms) for trial in self._passed_over(history, resource, terms)]
        return never_finished(history, terms, passed)

    def _passed_over(self, history: History, resource: int, terms: Terms) -> list[Trial]:
        """Who waits at a rung and will not be promoted."""
        left = terms.units - history.committed
        waiting = [trial for trial in history.trials if waits(trial) and trial.resource == resource]
        if left < terms.horizon:
            return waiting
        if self.cost_aware:  # seconds are not known before
            return []
        there = [trial for trial in history.trials if trial.target >= resource]
        num_more = (left - terms.horizon) // (resource - resource // terms.eta)
        num_before = nums_surely_before(there, resource)
        return [trial for trial in waiting if num_before[trial.number] >= (len(there) + num_more) // terms.eta]


def _is_coming(trial: Trial, resource: int) -> bool:
    """Whether it will be judged at a rung, but has not been."""
    return is_on_its_way(trial) and trial.resource < resource
