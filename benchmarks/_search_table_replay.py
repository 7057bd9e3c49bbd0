"""A search replayed on the table: each proposal is brought to the nearest configuration that no trial has had."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks._search_table_rows import HORIZON, Score, Table
from luthier.component import find
from luthier.searching.choosing import settle
from luthier.searching.samplers import Sampler
from luthier.searching.simulation import Outcome, simulate
from luthier.trials.history import History, Terms, Values
from luthier.trials.space import Space

FRACTIONS = (0.25, 0.5, 1.0)
"""Of the budget."""
NEARS = (1.01, 1.1)
"""Of the table's best: what is to be reached."""


@dataclass(frozen=True)
class Reached:
    """A full run that ended."""

    units: int
    """Spent by then, by all trials."""
    seconds: float
    """On the simulated clock."""
    score: float


@dataclass(frozen=True)
class Replay:
    """What a search came to."""

    regrets: tuple[float, ...]
    """At each of the fractions: the best full run's score, less the table's best. Before any full run has ended it is
    that of the recipe as it stands, which one has without a search."""
    seconds_to: tuple[float | None, ...]
    """Until a full run within 1 % and 10 % of the table's best; None: there was none."""
    num_trials: int
    seconds: float
    """Of the whole search."""


class Snapped(Sampler):
    """Another sampler, on the table's configurations."""

    inner: Any
    table: Any

    def suggest(self, space: Space, history: History, *, seed: int) -> Values | None:
        proposed = self.inner.suggest(space, history, seed=seed)
        if proposed is None:
            return None
        used = {self.table.of(trial.values).number for trial in history.trials}
        row = self.table.nearest(proposed, used=used)
        return None if row is None else dict(row.values)

    def resolved(self, space: Space, terms: Terms) -> Sampler:
        return Snapped(inner=self.inner.resolved(space, terms), table=self.table)


def ours(
    table: Table, sampler: str, scheduler: str, *, num_runs: int, num_workers: int, seed: int, score: Score
) -> Replay:
    """Luthier's kinds, by their names."""
    terms = table.terms(num_runs)

    def course(values: Values, units: int) -> Outcome:
        row = table.of(values)
        found = row.scored(units, score)
        if found is None:
            return Outcome((), max(row.seconds.values()), end="failed")
        return Outcome((found,), row.seconds[units])

    proposes, plan = settle(find("samplers", sampler)(), find("schedulers", scheduler)(), table.space, terms)
    made = Snapped(inner=proposes, table=table)
    how: dict[str, Any] = {"num_workers": num_workers, "seed": seed, "first": table.rows[0].values}
    done = simulate(course, table.space, made, plan, terms, **how)
    ends = [
        Reached(event.units, event.seconds, event.trial.rungs[-1].values[0])
        for event in done.events
        if event.trial.state == "done"
    ]
    return came_to(table, ends, terms, score, len(done.history.trials), done.events[-1].seconds)


def came_to(
    table: Table, ends: Sequence[Reached], terms: Terms, score: Score, num_trials: int, seconds: float
) -> Replay:
    """The figures of a search from its full runs, in the order of their ends."""
    best, standing = table.best(score), table.rows[0].scored(HORIZON, score)
    assert standing is not None, "the recipe as it stands has failed"
    regrets = []
    for fraction in FRACTIONS:
        scores = [end.score for end in ends if end.units <= fraction * terms.units]
        regrets.append(min(scores, default=standing) - best)
    nears = [next((end.seconds for end in ends if end.score <= near * best), None) for near in NEARS]
    return Replay(tuple(regrets), tuple(nears), num_trials, seconds)
