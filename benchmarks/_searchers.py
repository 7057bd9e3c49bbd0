"""The searchers that are compared: Luthier's, by its simulation; Optuna's, with and without its pruner; Syne Tune's."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks._searched import ETA, HORIZON, NUM_RUNS, RUNGS, Task, axes
from luthier.component import find
from luthier.searching.samplers import Sampler
from luthier.searching.schedulers import Scheduler
from luthier.searching.simulation import Outcome, simulate
from luthier.trials.history import Terms, Values
from luthier.trials.space import Space

SHARES = (0.25, 0.5, 1.0)
"""Of the budget, at which the regret is told."""
OURS: Mapping[str, tuple[str, Mapping[str, Any], str, Mapping[str, Any]]] = {
    "auto": ("auto", {}, "auto", {}),
    "gp, full": ("gp", {}, "full", {}),
    "tpe, full": ("tpe", {}, "full", {}),
    "random, full": ("random", {}, "full", {}),
    "sobol, full": ("sobol", {}, "full", {}),
    "random, hyperband": ("random", {}, "hyperband", {}),
    "random, asha": ("random", {}, "asha", {}),
    "tpe, asha": ("tpe", {}, "asha", {}),
    "tpe, asha, highest rung": ("tpe", {"rungs": "highest"}, "asha", {}),
    "tpe, bohb": ("tpe", {"rungs": "highest"}, "bohb", {}),
    "gp, asha": ("gp", {}, "asha", {}),
    "gp ucb, full": ("gp", {"acquisition": "ucb"}, "full", {}),
    "gp pi, full": ("gp", {"acquisition": "pi"}, "full", {}),
}
"""Sampler and its settings, scheduler and its."""
OPTUNA = ("random", "tpe", "gp")
SYNE_TUNE = {"syne tune asha": "ASHA", "syne tune bohb": "BOHB"}
"""Its names of them."""
PEERS = (*(f"optuna {sampler}{pruner}" for pruner in ("", " + hyperband") for sampler in OPTUNA), *SYNE_TUNE)
NEED_RUNGS = {name for name in (*OURS, *PEERS) if not name.endswith(", full") and name not in PEERS[: len(OPTUNA)]}
"""Those that look at lower rungs; `auto` does, and takes full runs alone where there are none."""


def regrets(task: Task, searcher: str, *, seed: int) -> list[float | None]:
    """How far the best full run is from the minimum at each share of the budget; None: there was no full run yet."""
    search = _by_us if searcher in OURS else _by_syne_tune if searcher in SYNE_TUNE else _by_optuna
    found = search(task, searcher, seed)
    return [None if best is None else round(max(0.0, best - task.least), 6) for best in found]


def _by_us(task: Task, searcher: str, seed: int) -> list[float | None]:
    kind, settings, scheduler_kind, scheduler_settings = OURS[searcher]
    if not task.has_rungs:
        scheduler_kind, scheduler_settings = "full", {}
    sampler = find("samplers", kind).model_validate(settings)
    scheduler = find("schedulers", scheduler_kind).model_validate(scheduler_settings)
    assert isinstance(sampler, Sampler)
    assert isinstance(scheduler, Scheduler)
    terms = Terms(HORIZON, ETA, NUM_RUNS * HORIZON)

    def objective(values: Values, units: int) -> Outcome:
        return Outcome((task.value({name: float(value) for name, value in values.items()}, units),), float(units))

    space = Space.of({name: {"uniform": [0, 1]} for name in axes(task.num_axes)})
    done = simulate(objective, space, sampler, scheduler, terms, seed=seed)
    return [done.best(at=HORIZON, units=share * terms.units) for share in SHARES]


def _by_optuna(task: Task, searcher: str, seed: int) -> list[float | None]:
    """One worker; a run that is pruned has cost what it took, and never goes on."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    samplers: Mapping[str, Callable[..., Any]] = {
        "random": optuna.samplers.RandomSampler,
        "tpe": optuna.samplers.TPESampler,
        "gp": optuna.samplers.GPSampler,
    }
    prunes = searcher.endswith("hyperband")
    least, most = round(100 / HORIZON), 100
    study = optuna.create_study(
        sampler=samplers[searcher.split()[1]](seed=seed),
        pruner=optuna.pruners.HyperbandPruner(least, most, ETA) if prunes else optuna.pruners.NopPruner(),
    )
    spent, best = 0, None
    marks: list[float | None] = [None] * len(SHARES)
    while spent < NUM_RUNS * HORIZON:
        trial = study.ask()
        point = {name: trial.suggest_float(name, 0, 1) for name in axes(task.num_axes)}
        for before, units in zip((0, *RUNGS), RUNGS, strict=False):
            spent += units - before
            if units < HORIZON and not prunes:
                continue
            value = task.value(point, units)
            if units == HORIZON:
                best = value if best is None else min(best, value)
                study.tell(trial, value)
                break
            trial.report(value, round(100 * units / HORIZON))
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        marks = [best if spent <= s * NUM_RUNS * HORIZON else mark for s, mark in zip(SHARES, marks, strict=True)]
    return marks


def _by_syne_tune(task: Task, searcher: str, seed: int) -> list[float | None]:
    """One worker; whoever is stopped never goes on, as in its releases of today."""
    import datetime
    import logging

    from syne_tune.backend.trial_status import Trial
    from syne_tune.config_space import uniform
    from syne_tune.optimizer import baselines

    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    scheduler = getattr(baselines, SYNE_TUNE[searcher])(
        config_space={name: uniform(0.0, 1.0) for name in axes(task.num_axes)},
        metric="value",
        time_attr="units",
        max_t=HORIZON,
        grace_period=1,
        reduction_factor=ETA,
        random_seed=seed,
    )
    spent, best, number = 0, None, 0
    marks: list[float | None] = [None] * len(SHARES)
    while spent < NUM_RUNS * HORIZON:
        trial = Trial(number, scheduler.suggest().config, datetime.datetime.now())
        scheduler.on_trial_add(trial)
        number += 1
        for before, units in zip((0, *RUNGS), RUNGS, strict=False):
            spent += units - before
            value = task.value(trial.config, units)
            told = {"value": value, "units": units}
            if units == HORIZON:
                best = value if best is None else min(best, value)
                scheduler.on_trial_complete(trial, told)
            elif scheduler.on_trial_result(trial, told) == "STOP":
                break
        marks = [best if spent <= s * NUM_RUNS * HORIZON else mark for s, mark in zip(SHARES, marks, strict=True)]
    return marks
