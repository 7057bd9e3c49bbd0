"""Optuna on the same table and simulated clock: its samplers, with HyperbandPruner or without.

A trial runs from rung to rung; where the pruner says so it ends there, and never goes on. Parameters below a choice are
suggested under it alone, options that are numbers by their places. The first trial is the recipe as it stands, and a
trial's parameters in the study are those of the configuration it was brought to, as for Luthier's samplers.
"""

import heapq
import warnings
from dataclasses import dataclass
from typing import Any

from benchmarks._search_table_replay import Reached, Replay, came_to
from benchmarks._search_table_rows import ETA, HORIZON, RUNGS, Configuration, Score, Table
from luthier.searching.samplers import _optuna as as_optuna
from luthier.trials.history import Value

SAMPLERS = {"random": "RandomSampler", "tpe": "TPESampler", "gp": "GPSampler"}


@dataclass
class _Running:
    """A trial at work."""

    trial: Any
    row: Configuration
    rung: int = 0
    """Place of the next rung among RUNGS."""


def optuna_on(
    table: Table, sampler: str, *, is_pruned: bool, num_runs: int, num_workers: int, seed: int, score: Score
) -> Replay:
    """A study of Optuna's, until the budget pays for no further stretch."""
    import optuna

    optuna.logging.set_verbosity(
        optuna.logging.ERROR
    )  # GPSampler draws at random what lies below a choice, and says so
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    bounds = {"min_resource": RUNGS[0], "max_resource": HORIZON, "reduction_factor": ETA}
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(
        storage=storage,
        sampler=getattr(optuna.samplers, SAMPLERS[sampler])(seed=seed),
        pruner=optuna.pruners.HyperbandPruner(**bounds) if is_pruned else optuna.pruners.NopPruner(),
        study_name=f"table-{seed}",  # HyperbandPruner draws a trial's bracket from it
    )
    return _Clock(table, study, storage, num_runs, score, is_pruned=is_pruned).run(num_workers)


class _Clock:
    """Workers on a simulated clock."""

    def __init__(self, table: Table, study: Any, storage: Any, num_runs: int, score: Score, *, is_pruned: bool) -> None:
        self._table, self._study, self._storage, self._score = table, study, storage, score
        self._terms = table.terms(num_runs)
        self._stops = RUNGS if is_pruned else RUNGS[-1:]
        self._committed = self._spent = self._num_jobs = 0
        self._used: set[int] = set()
        self._jobs: list[tuple[float, int, int, _Running]] = []  # its end, the job's number, its units, the trial

    def run(self, num_workers: int) -> Replay:
        clock, ends = 0.0, list[Reached]()
        for _ in range(num_workers):
            self._begin(clock)
        while self._jobs:
            clock, _, units, work = heapq.heappop(self._jobs)
            self._spent += units
            found = work.row.scored(self._stops[work.rung], self._score)
            if found is not None and self._stops[work.rung] == HORIZON:
                ends.append(Reached(self._spent, clock, found))
            if not self._goes_on(work, found, clock):
                self._begin(clock)
        return came_to(self._table, ends, self._terms, self._score, len(self._used), clock)

    def _goes_on(self, work: _Running, found: float | None, clock: float) -> bool:
        """Tell the study how a trial came to its rung; whether it goes on from there."""
        states = _states()
        if found is None:
            self._study.tell(work.trial, state=states.FAIL)
            return False
        if self._stops[work.rung] == HORIZON:
            self._study.tell(work.trial, found)
            return False
        work.trial.report(found, self._stops[work.rung])
        if work.trial.should_prune() or not self._go(work, work.rung + 1, clock):
            self._study.tell(work.trial, state=states.PRUNED)
            return False
        return True

    def _begin(self, clock: float) -> None:
        """A new trial, where the budget pays for its first stretch and a configuration is left."""
        if self._committed + self._stops[0] > self._terms.units or len(self._used) == len(self._table.rows):
            return
        if not self._used:
            self._enqueue_the_first()
        trial = self._study.ask()
        row = self._table.nearest(self._asked(trial), used=self._used)
        assert row is not None
        for parameter in self._table.space.active(row.values):
            distribution = as_optuna._distribution(parameter)
            inner = distribution.to_internal_repr(as_optuna._param(parameter, row.values[parameter.name]))
            self._storage.set_trial_param(trial._trial_id, parameter.name, inner, distribution)
        self._used.add(row.number)
        self._go(_Running(trial, row), 0, clock)

    def _enqueue_the_first(self) -> None:
        values, space = self._table.rows[0].values, self._table.space
        self._study.enqueue_trial({p.name: as_optuna._param(p, values[p.name]) for p in space.active(values)})

    def _asked(self, trial: Any) -> dict[str, Value]:
        """What the study proposes; what lies below a choice depends on it."""
        values: dict[str, Value] = {}
        for parameter in self._table.space.parameters:
            if all(values.get(name) == label for name, label in parameter.under):
                values[parameter.name] = as_optuna._value(parameter, as_optuna._suggested(trial, parameter))
        return values

    def _go(self, work: _Running, rung: int, clock: float) -> bool:
        """Towards a rung, if the budget pays for it."""
        before = self._stops[rung - 1] if rung else 0
        units = self._stops[rung] - before
        if self._committed + units > self._terms.units:
            return False
        self._committed += units
        self._num_jobs += 1
        work.rung = rung
        seconds = work.row.seconds
        until = seconds.get(self._stops[rung], max(seconds.values()))
        heapq.heappush(self._jobs, (clock + until - seconds.get(before, 0.0), self._num_jobs, units, work))
        return True


def _states() -> Any:
    from optuna.trial import TrialState

    return TrialState
