"""Brackets: groups of trials that start together at one rung, of which one in eta goes on from each rung.

With n trials that start at r units, rung i has n_i = floor(n / eta^i) trials at r_i = r eta^i units. Each goes on from
its checkpoint, so the bracket costs n r + sum over i >= 1 of n_i (r_i - r_(i-1)) units.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from luthier.searching.schedulers import Begin, Promote, Scheduler
from luthier.searching.schedulers._ends import finishing, is_on_its_way, never_finished, waits, within_reach
from luthier.trials.history import History, Terms, Trial
from luthier.trials.ranking import nums_surely_before, ranked


@dataclass(frozen=True)
class Bracket:
    """A group of trials, as planned."""

    num_trials: int
    """That start."""
    first: int
    """Units of the lowest rung."""
    terms: Terms

    @property
    def rungs(self) -> tuple[int, ...]:
        """Units of each rung, up to a full run."""
        found = [self.first]
        while found[-1] < self.terms.horizon:
            found.append(found[-1] * self.terms.eta)
        return tuple(found)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Trials at each rung."""
        return tuple(self.num_trials // self.terms.eta**rung for rung in range(len(self.rungs)))

    @property
    def cost(self) -> int:
        """Units of all its trials, each resumed from rung to rung."""
        stretches = [rung - before for before, rung in zip((0, *self.rungs), self.rungs, strict=False)]
        return sum(size * stretch for size, stretch in zip(self.sizes, stretches, strict=True))


def widest(first: int, units: int, terms: Terms) -> Bracket | None:
    """The bracket with most trials from a rung that so many units pay for; None: not one trial would be finished."""
    least, most = terms.horizon // first, units // first + 1  # the first is paid for, the last is not
    if least < 1 or Bracket(least, first, terms).cost > units:
        return None
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if Bracket(middle, first, terms).cost <= units else (least, middle)
    return Bracket(least, first, terms)


class Bracketed(Scheduler):
    """Works on planned brackets in order, and begins the next while the one before waits for its slowest trials."""

    @abstractmethod
    def plan(self, units: int, terms: Terms) -> Sequence[Bracket]:
        """The brackets on which so many units are spent, a pure function; none where they pay for no full run."""

    def options(self, history: History, terms: Terms) -> Iterator[Begin | Promote]:
        terms = within_reach(terms)
        brackets = self.brackets(history, terms)
        members = [history.in_bracket(number) for number in range(len(brackets))]
        for trials, bracket in zip(members, brackets, strict=True):
            yield from _promotions(trials, bracket, bracket.num_trials)
        for number, (trials, bracket) in enumerate(zip(members, brackets, strict=True)):
            if len(trials) < bracket.num_trials:
                yield Begin(bracket.first, number)
                break
        # Whoever comes here cannot begin a trial: the brackets stay as small as they are.
        for trials, bracket in zip(members, brackets, strict=True):
            yield from _promotions(trials, bracket, len(trials))
        yield from finishing(history, terms)

    def brackets(self, history: History, terms: Terms) -> list[Bracket]:
        """All that are planned by now: for the budget, and once those are over for what failed trials left of it."""
        found: list[Bracket] = []
        while True:
            spent = sum(trial.committed for trial in history.trials if trial.bracket < len(found))
            more = self.plan(terms.units - spent, terms)
            found += more
            is_over = all(_is_over(history.in_bracket(number), bracket) for number, bracket in enumerate(found))
            if not more or not is_over:
                return found

    def hopeless(self, history: History, terms: Terms) -> frozenset[int]:
        """Those before which a bracket has as many as go on from the rung."""
        terms = within_reach(terms)
        passed = [
            trial
            for number, bracket in enumerate(self.brackets(history, terms))
            for trial in _passed_over(history.in_bracket(number), bracket)
        ]
        return never_finished(history, terms, passed)


def _promotions(trials: Sequence[Trial], bracket: Bracket, num_trials: int) -> Iterator[Promote]:
    """Who goes on: the best of the lowest rung that is complete, once so many trials have started."""
    if len(trials) < num_trials:
        return
    for resource in bracket.rungs[:-1]:
        there = [trial for trial in trials if trial.target >= resource]
        if any(is_on_its_way(trial) and trial.target == resource for trial in there):
            return
        # One that failed is there and comes last, so that it takes nobody's place and gives nobody one.
        num, num_gone_on = len(there) // bracket.terms.eta, sum(trial.target > resource for trial in there)
        if num_gone_on >= num:
            continue
        best = ranked(there, resource)[:num]
        going_on = [trial for trial in best if waits(trial) and trial.target == resource][: num - num_gone_on]
        if going_on:
            yield from (Promote(trial.number, resource * bracket.terms.eta) for trial in going_on)
            return


def _is_over(trials: Sequence[Trial], bracket: Bracket) -> bool:
    if len(trials) < bracket.num_trials or any(is_on_its_way(trial) for trial in trials):
        return False
    return not any(True for _ in _promotions(trials, bracket, bracket.num_trials))


def _passed_over(trials: Sequence[Trial], bracket: Bracket) -> Iterator[Trial]:
    """Who waits, and has before it as many as will go on from its rung at most."""
    num_trials = max(bracket.num_trials, len(trials))
    for rung, resource in enumerate(bracket.rungs[:-1], 1):
        num_going_on = num_trials // bracket.terms.eta**rung
        there = [trial for trial in trials if trial.target >= resource]
        num_before = nums_surely_before(there, resource)
        yield from (
            trial
            for trial in there
            if waits(trial) and trial.target == resource and num_before[trial.number] >= num_going_on
        )
