"""Which settings matter: the share of the scores' variance that each alone accounts for, by a functional analysis of
variance of a random forest. Hutter, Hoos and Leyton-Brown 2014, https://proceedings.mlr.press/v32/hutter14.html.

The forest is Optuna's. It sees the points of the unit cube, so that a logarithmic range is even; a setting that does
not apply in a trial stands in the middle of its range.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from luthier import extras
from luthier.studying.standing import Standing
from luthier.trials.domains import Choice
from luthier.trials.history import Trial, Values
from luthier.trials.space import Parameter

FEWEST = 10
"""Trials below which a forest finds what is not there; and two of each parameter at least."""


@dataclass(frozen=True)
class Importance:
    """Shares of the parameters, by their names, the largest first; or why they are not known."""

    shares: Mapping[str, float] = field(default_factory=dict)
    """They add up to 1: what settings account for only together is left out."""
    num_trials: int = 0
    resource: int = 0
    """Units at which those trials were judged."""
    reason: str | None = None


def importance(standing: Standing, *, seed: int = 0) -> Importance:
    """By the first objective, at the highest place where trials enough were judged."""
    space = standing.space
    if len(space.parameters) < 2:
        return Importance(reason="a single setting is searched, so there is nothing to compare")
    whole = [trial for trial in standing.history.trials if space.is_whole(trial.values)]
    needed = max(FEWEST, 2 * len(space.parameters))
    places = sorted({rung.resource for trial in whole for rung in trial.rungs}, reverse=True)
    by_place = {place: [trial for trial in whole if trial.at(place)] for place in places}
    enough = next((place for place in places if len(by_place[place]) >= needed), None)
    if enough is None:
        most = max((len(trials) for trials in by_place.values()), default=0)
        return Importance(reason=f"{most} trials were judged at one place, and {needed} are needed")
    trials = by_place[enough]
    values = [trial.at(enough).values[0] for trial in trials]  # type: ignore[union-attr]
    if max(values) == min(values):
        return Importance(reason=f"all {len(trials)} trials score the same")
    if not extras.is_there("optuna"):
        return Importance(reason="it needs Optuna: pip install 'luthier[search]'")
    shares = _shares(standing, trials, values, seed)
    return Importance(shares, len(trials), enough)


def _shares(standing: Standing, trials: list[Trial], values: list[float], seed: int) -> dict[str, float]:
    from optuna import logging, samplers
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.study import create_study
    from optuna.trial import create_trial

    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        study = create_study(sampler=samplers.RandomSampler(seed=seed))
        parameters = standing.space.parameters
        distributions = {parameter.name: _distribution(parameter) for parameter in parameters}
        for trial, value in zip(trials, values, strict=True):
            params = {parameter.name: _place(parameter, trial.values) for parameter in parameters}
            study.add_trial(create_trial(params=params, distributions=distributions, value=value))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
    finally:
        logging.set_verbosity(before)
    return {name: float(share) for name, share in sorted(found.items(), key=lambda each: -each[1])}


def _is_named(parameter: Parameter) -> bool:
    """Whether its options have no order."""
    return isinstance(parameter.domain, Choice) and not parameter.domain.is_ordered


def _distribution(parameter: Parameter) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(parameter.domain, Choice) and _is_named(parameter):
        return CategoricalDistribution(parameter.domain.labels)
    return FloatDistribution(0.0, 1.0)


def _place(parameter: Parameter, values: Values) -> Any:
    if isinstance(parameter.domain, Choice) and _is_named(parameter):
        return values.get(parameter.name, parameter.domain.labels[0])
    return parameter.domain.unit(values[parameter.name]) if parameter.name in values else 0.5
