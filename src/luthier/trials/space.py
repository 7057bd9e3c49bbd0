"""The settings that are searched, by their key paths; some apply only under one option of a choice.

A parameter below a choice is called after it, as in `method=lora:method.rank`, so that one name has one domain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from pydantic import TypeAdapter

from luthier.trials.domains import Choice, Domain, SaidDomain, is_domain
from luthier.trials.history import Value, Values

ALSO = "with"
"""In an option: settings elsewhere in the recipe that go with it."""
_DOMAIN: TypeAdapter[Domain] = TypeAdapter(SaidDomain)


@dataclass(frozen=True)
class Parameter:
    """One thing that differs from trial to trial."""

    name: str
    path: str
    """Where it stands in a recipe."""
    domain: Domain
    under: tuple[tuple[str, str], ...] = ()
    """The choices, and of each the label, under which it applies."""


@dataclass(frozen=True)
class Space:
    """All parameters; a choice stands before what lies under it."""

    parameters: tuple[Parameter, ...]

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "Space":
        """The space that a recipe says, by key paths; domains may be said plainly or be there already.

        Raises ValidationError or ValueError where a domain is none.
        """
        return cls(tuple(_parameters(said, ())))

    @cached_property
    def by_name(self) -> dict[str, Parameter]:
        return {parameter.name: parameter for parameter in self.parameters}

    @property
    def num_settings(self) -> int | None:
        """How many settings there are in all; None where a domain is a range of real numbers."""
        levels = [parameter.domain.num_levels for parameter in self.parameters]
        if any(each is None for each in levels):
            return None
        return sum(1 for _ in self.grid()) if any(p.under for p in self.parameters) else prod(map(int, levels))  # type: ignore[arg-type]

    def active(self, values: Values) -> list[Parameter]:
        """The parameters that apply under these values of the choices."""
        return [p for p in self.parameters if all(values.get(name) == label for name, label in p.under)]

    def values(self, units: Sequence[float]) -> dict[str, Value]:
        """The values at a point of the unit cube, with an axis for each parameter; those that do not apply go."""
        found: dict[str, Value] = {}
        for parameter, unit in zip(self.parameters, units, strict=True):
            if all(found.get(name) == label for name, label in parameter.under):
                found[parameter.name] = parameter.domain.value(unit)
        return found

    def units(self, values: Values) -> list[float]:
        """The point of the unit cube; what does not apply, or is not known, lies in the middle."""
        return [p.domain.unit(values[p.name]) if p.name in values else 0.5 for p in self.parameters]

    def is_whole(self, values: Values) -> bool:
        """Whether every parameter that applies has a value."""
        return all(parameter.name in values for parameter in self.active(values))

    def settings(self, values: Values) -> dict[str, Any]:
        """What a trial changes in the recipe, by key path."""
        changes: dict[str, Any] = {}
        for parameter in self.active(values):
            if parameter.name in values:
                setting = parameter.domain.setting(values[parameter.name])
                changes[parameter.path] = _plain(setting) if isinstance(parameter.domain, Choice) else setting
        return changes

    def grid(self, num_of_ranges: int = 1) -> Any:
        """Every setting once, in a fixed order; a range gives so many evenly placed values."""

        def grow(found: dict[str, Value], rest: Sequence[Parameter]) -> Any:
            if not rest:
                yield found
                return
            first, *others = rest
            if not all(found.get(name) == label for name, label in first.under):
                yield from grow(found, others)
                return
            num = first.domain.num_levels or num_of_ranges
            for level in range(num):
                value = first.domain.value((level + 0.5) / num)
                yield from grow({**found, first.name: value}, others)

        return grow({}, self.parameters)


def _parameters(said: Mapping[str, Any], under: tuple[tuple[str, str], ...]) -> Any:
    opening = "".join(f"{name.rpartition(':')[2]}={label}:" for name, label in under)
    for path, each in said.items():
        domain = _DOMAIN.validate_python(each)
        name = f"{opening}{path}"
        yield Parameter(name, path, domain, under)
        if isinstance(domain, Choice):
            for label, option in zip(domain.labels, domain.choice, strict=True):
                yield from _parameters(_below(path, option), (*under, (name, label)))


def _below(path: str, option: Any) -> dict[str, Any]:
    """The domains among an option's own settings and in what goes with it, by key path."""
    if not isinstance(option, Mapping):
        return {}
    own = {f"{path}.{key}": value for key, value in option.items() if is_domain(value)}
    return {**own, **{key: value for key, value in option.get(ALSO, {}).items() if is_domain(value)}}


def _plain(option: Any) -> Any:
    """An option without what is searched below it."""
    if not isinstance(option, Mapping):
        return option
    return {key: value for key, value in option.items() if key != ALSO and not is_domain(value)}
