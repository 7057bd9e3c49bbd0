"""How a search ends: what a small budget can reach, and who gets what is left when nothing else can be paid.

A remainder of less than a full run brings no new trial to its end. It finishes the best of those that wait: from the
highest rung first, there the best. It pays for one at most, for that costs R - R / eta units or more, and 2 (R - R /
eta) >= R. Where the space is used up before anything was whole, one is finished likewise, whatever is left.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace

from luthier.searching.schedulers import Promote
from luthier.trials.history import History, Terms, Trial
from luthier.trials.ranking import nums_surely_before, ranked


def within_reach(terms: Terms) -> Terms:
    """The terms, with the longest run that the budget pays for in place of a full one: horizon / eta, / eta^2, ... ."""
    horizon = terms.horizon
    while horizon > max(1, terms.units):
        horizon //= terms.eta
    return replace(terms, horizon=horizon)


def waits(trial: Trial) -> bool:
    """Whether it was judged where it should be, and is paused."""
    return trial.state == "paused" and trial.resource == trial.target


def is_on_its_way(trial: Trial) -> bool:
    """Whether it will be judged at its target: it runs, or was interrupted."""
    return trial.state == "running" or (trial.state == "paused" and trial.resource < trial.target)


def rungs_below(terms: Terms) -> list[int]:
    """The units at which trials are judged before the end, the lowest first."""
    rungs = [1]
    while rungs[-1] < terms.horizon:
        rungs.append(rungs[-1] * terms.eta)
    return rungs[:-1]


def finishing(history: History, terms: Terms) -> Iterator[Promote]:
    """Who is finished with the remainder; none before the trials on their way to a lower rung have come there.

    `terms` are those within reach.
    """
    if any(is_on_its_way(trial) and trial.target < terms.horizon for trial in history.trials):
        return
    if terms.units - history.committed >= terms.horizon and _is_any_whole(history, terms):
        return
    for resource in reversed(rungs_below(terms)):
        there = [trial for trial in history.trials if waits(trial) and trial.resource == resource]
        for trial in ranked(there, resource):
            yield Promote(trial.number, terms.horizon)


def never_finished(history: History, terms: Terms, passed: Collection[Trial]) -> frozenset[int]:
    """Of trials that wait and are passed over for good, those that the remainder will not finish either.

    As many others that are passed over are surely before them as the remainder can still finish. That never changes
    back: whoever is finished takes one of those away, and one of what can be finished.
    """
    left = terms.units - history.committed
    if left < terms.horizon:
        num_finished = left // (terms.horizon - terms.horizon // terms.eta) if terms.horizon > 1 else 0
    else:
        num_finished = 1 if _is_any_whole(history, terms) else 2
    num_before: dict[int, int] = {}
    num_higher = 0
    for resource in sorted({trial.resource for trial in passed}, reverse=True):
        there = nums_surely_before((trial for trial in passed if trial.resource == resource), resource)
        num_before |= {number: num_higher + num for number, num in there.items()}
        num_higher += len(there)
    return frozenset(number for number, num in num_before.items() if num >= num_finished)


def _is_any_whole(history: History, terms: Terms) -> bool:
    return any(trial.target >= terms.horizon for trial in history.trials)
