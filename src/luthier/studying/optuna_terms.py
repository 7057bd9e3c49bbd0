"""Our words in Optuna's: what its dashboard and its importance read."""

from typing import TYPE_CHECKING, Any

from luthier.trials.domains import Choice, Domain, Log, Uniform, Whole
from luthier.trials.history import Value, Values
from luthier.trials.space import Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def distribution(domain: Domain) -> "BaseDistribution":
    """A choice by its labels; a range with its ends."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    match domain:
        case Choice():
            return CategoricalDistribution(domain.labels)
        case Uniform(uniform=ends):
            return FloatDistribution(*ends)
        case Log(log=ends):
            return FloatDistribution(*ends, log=True)
        case Whole(int=ends):
            return IntDistribution(*ends)


def inside(space: Space, values: Values) -> dict[str, Any]:
    """The values that Optuna can take: of parameters that apply, and within their domains."""
    active = (parameter for parameter in space.active(values) if parameter.name in values)
    return {p.name: values[p.name] for p in active if _is_inside(p.domain, values[p.name])}


def _is_inside(domain: Domain, value: Value) -> bool:
    return str(value) in domain.labels if isinstance(domain, Choice) else domain.value_of(value) is not None
