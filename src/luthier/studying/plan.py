"""What a search is, as its store keeps it: whoever goes on with it, or joins it, must mean the same.

The budget is apart: it may be raised.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from pydantic import TypeAdapter

from luthier.component import Component, find
from luthier.searching.samplers import Sampler
from luthier.searching.schedulers import Scheduler
from luthier.studying.standing import UNKNOWN, Goal
from luthier.trials.domains import Domain, SaidDomain
from luthier.trials.history import Terms, Values
from luthier.trials.space import Parameter, Space

SHOWN = 80
"""Most characters of a value in a message."""
_DOMAIN: TypeAdapter[Domain] = TypeAdapter(SaidDomain)


@dataclass(frozen=True)
class Plan:
    """What does not change while a search goes on."""

    space: Space
    goals: tuple[Goal, ...]
    sampler: Sampler
    scheduler: Scheduler
    horizon: int
    """Units of a full run."""
    eta: int
    seed: int = 0
    default: Values | None = None
    """The recipe as it stands, which is trial 0; it may lack some. None: trial 0 is one as any other."""
    constraints: tuple[str, ...] = ()
    base: Mapping[str, str] = field(default_factory=dict)
    """Whatever else must stay: fingerprints of data, model and recipe, by their names."""

    def terms(self, units: int | None) -> Terms:
        """With a budget; None where it is not known yet."""
        most = UNKNOWN if units is None else units
        return Terms(horizon=self.horizon, eta=self.eta, units=most, num_objectives=len(self.goals))

    def as_json(self) -> dict[str, Any]:
        """Plain values, for the store."""
        written = {
            "space": {p.name: _written(p) for p in self.space.parameters},
            "objectives": [[goal.name, goal.higher_is_better] for goal in self.goals],
            "constraints": list(self.constraints),
            "sampler": _component(self.sampler),
            "scheduler": _component(self.scheduler),
            "horizon": self.horizon,
            "eta": self.eta,
            "seed": self.seed,
            "default": None if self.default is None else dict(self.default),
            "base": dict(self.base),
        }
        plain: dict[str, Any] = json.loads(json.dumps(written))
        return plain

    @classmethod
    def of_json(cls, written: Mapping[str, Any]) -> Self:
        """What `as_json` wrote."""
        return cls(
            space=Space(tuple(_parameter(name, each) for name, each in written["space"].items())),
            goals=tuple(Goal(*goal) for goal in written["objectives"]),
            sampler=_found("samplers", written["sampler"]),
            scheduler=_found("schedulers", written["scheduler"]),
            horizon=written["horizon"],
            eta=written["eta"],
            seed=written["seed"],
            default=written["default"],
            constraints=tuple(written["constraints"]),
            base=written["base"],
        )


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What two plans, as JSON, do not share, in words: `seed: was 0, is 1`."""
    told = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            told += [f"{key}.{line}" for line in differences(old, new)]
        elif old != new:
            told.append(f"{key}: was {_short(old)}, is {_short(new)}")
    return told


def _written(parameter: Parameter) -> dict[str, Any]:
    return {
        "path": parameter.path,
        "domain": parameter.domain.model_dump(mode="json"),
        "under": [list(each) for each in parameter.under],
    }


def _parameter(name: str, written: Mapping[str, Any]) -> Parameter:
    under = tuple((choice, label) for choice, label in written["under"])
    return Parameter(name, written["path"], _DOMAIN.validate_python(written["domain"]), under)


def _component(component: Component) -> dict[str, Any]:
    return {"kind": component.kind(), **component.model_dump(mode="json")}


def _found(group: str, written: Mapping[str, Any]) -> Any:
    settings = {name: value for name, value in written.items() if name != "kind"}
    return find(group, written["kind"]).model_validate(settings)


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
