"""A history as an Optuna study in memory, made anew for each question, for one of Optuna's samplers to answer."""

import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from luthier.extras import need
from luthier.searching.samplers._seen import Point, Seen
from luthier.trials.domains import Choice, Log, Uniform
from luthier.trials.history import Value, Values
from luthier.trials.space import Parameter, Space


def ask(space: Space, seen: Seen, make: Callable[[Any], Any], *, num: int) -> Iterator[Values]:
    """So many proposals for the next trial. `make`: a sampler, of the module `optuna.samplers`.

    Raises MissingExtra where optuna is not installed.
    """
    optuna = need("optuna", extra="search", needed_for="the samplers tpe and gp with several objectives")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(sampler=make(optuna.samplers), directions=["minimize"] * seen.num_objectives)
        study.add_trials([_trial(space, point) for point in seen.points])
        study.add_trials([_running(space, values) for values in seen.pending])
        for _ in range(num):
            yield _asked(space, study)


def _asked(space: Space, study: Any) -> Values:
    """A proposal, parameter by parameter, for those below a choice depend on it; it counts as failed, as no trial."""
    trial = study.ask()
    values: dict[str, Value] = {}
    for parameter in space.parameters:
        if all(values.get(name) == label for name, label in parameter.under):
            values[parameter.name] = _value(parameter, _suggested(trial, parameter))
    study.tell(trial, state=_module("trial").TrialState.FAIL)
    return values


def _trial(space: Space, point: Point) -> Any:
    limits = {str(each): excess for each, excess in enumerate(point.excess)}
    return _frozen(space, point.values, values=list(point.scores), constraints=limits or None)


def _running(space: Space, values: Values) -> Any:
    return _frozen(space, values, state=_module("trial").TrialState.RUNNING)


def _frozen(space: Space, setting: Values, **told: Any) -> Any:
    active = space.active(setting)
    return _module("trial").create_trial(
        params={parameter.name: _param(parameter, setting[parameter.name]) for parameter in active},
        distributions={parameter.name: _distribution(parameter) for parameter in active},
        **told,
    )


def _distribution(parameter: Parameter) -> Any:
    """Options that are numbers, and in order, by their places among them, so that neighbours are alike."""
    distributions, domain = _module("distributions"), parameter.domain
    if isinstance(domain, Choice):
        if domain.is_ordered and len(domain.labels) > 1:
            return distributions.IntDistribution(0, len(domain.labels) - 1)
        return distributions.CategoricalDistribution(domain.labels)
    if isinstance(domain, Log):
        return distributions.FloatDistribution(*domain.log, log=True)
    if isinstance(domain, Uniform):
        return distributions.FloatDistribution(*domain.uniform)
    return distributions.IntDistribution(*domain.int)


def _suggested(trial: Any, parameter: Parameter) -> Any:
    """What a trial of the study is given for a parameter."""
    name, distribution = parameter.name, _distribution(parameter)
    if hasattr(distribution, "choices"):
        return trial.suggest_categorical(name, distribution.choices)
    if isinstance(distribution.low, int):
        return trial.suggest_int(name, distribution.low, distribution.high)
    return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)


def _param(parameter: Parameter, value: Value) -> Value:
    domain = parameter.domain
    is_numbered = isinstance(domain, Choice) and domain.is_ordered and len(domain.labels) > 1
    return domain.labels.index(str(value)) if isinstance(domain, Choice) and is_numbered else value


def _value(parameter: Parameter, param: Any) -> Value:
    domain = parameter.domain
    if isinstance(domain, Choice):
        return domain.labels[param] if isinstance(param, int) else str(param)
    return int(param) if isinstance(param, int) else float(param)


def _module(name: str) -> Any:
    return import_module(f"optuna.{name}")
