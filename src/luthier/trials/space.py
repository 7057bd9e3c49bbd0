"""The settings that are searched, by their key paths; some apply only under one option of a choice.

A parameter below a choice is called after it, as in `method=lora:method.rank`, so that one name has one domain.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter

from luthier.trials.domains import Choice, Domain, SaidDomain, is_domain
from luthier.trials.history import Value, Values

ALSO = "with"
"""In an option: settings elsewhere in the recipe that go with it."""
EXAMPLE_OF_ALSO = "{training.batch_size: 16}"
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

        Raises ValidationError or ValueError where a domain is none, or a setting is searched twice.
        """
        space = cls(tuple(_parameters(said, ())))
        space._require_apart()
        return space

    def _require_apart(self) -> None:
        places = [(p.path, p.under) for p in self.parameters]
        for parameter in self.parameters:
            if isinstance(parameter.domain, Choice):
                for label, option in zip(parameter.domain.labels, parameter.domain.choice, strict=True):
                    under = (*parameter.under, (parameter.name, label))
                    places.extend((path, under) for path in beside(option))
        for (path, under), (other, others) in combinations(places, 2):
            together = all(dict(others).get(name, label) == label for name, label in under)
            if together and (path == other or _lies_below(path, under, other) or _lies_below(other, others, path)):
                also = "" if path == other else f": {min(path, other, key=len)} sets it too"
                raise ValueError(f"{max(path, other, key=len)} is set twice in one trial{also}")

    @cached_property
    def by_name(self) -> dict[str, Parameter]:
        return {parameter.name: parameter for parameter in self.parameters}

    @cached_property
    def num_settings(self) -> int | None:
        """How many settings there are in all; None where a domain is a range of real numbers."""
        if any(parameter.domain.num_levels is None for parameter in self.parameters):
            return None
        return self._num_under(())

    def _num_under(self, under: tuple[tuple[str, str], ...]) -> int:
        """Settings of the parameters that apply under these labels and no others."""
        num = 1
        for parameter in self.parameters:
            if parameter.under != under:
                continue
            if isinstance(parameter.domain, Choice):
                num *= sum(self._num_under((*under, (parameter.name, label))) for label in parameter.domain.labels)
            else:
                num *= parameter.domain.num_levels or 1
        return num

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
        """Whether every parameter that applies has a value, and one of its domain."""
        return all(p.name in values and p.domain.holds(values[p.name]) for p in self.active(values))

    def settings(self, values: Values) -> dict[str, Any]:
        """What a trial changes in the recipe, by key path."""
        changes: dict[str, Any] = {}
        for parameter in self.active(values):
            if parameter.name in values:
                setting = parameter.domain.setting(values[parameter.name])
                changes[parameter.path] = fixed(setting)
                changes.update(beside(setting))
        return changes

    def standing(
        self,
        recipe: Mapping[str, Any],
        changed: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        known: Values = MappingProxyType({}),
    ) -> dict[str, Value]:
        """The values of a recipe as it stands, in plain objects; without those that lie outside the space.

        `changed` gives the recipe, in plain objects, after changes by key path; `known` values are taken as they are.
        """
        found = dict(known)
        for parameter in self.parameters:
            if parameter.name in found or not all(found.get(name) == label for name, label in parameter.under):
                continue
            setting = _at(recipe, parameter.path)
            if isinstance(parameter.domain, Choice) and isinstance(setting, Mapping):
                value = self._label_of(parameter, recipe, changed)
            else:
                value = parameter.domain.value_of(setting)
            if value is not None:
                found[parameter.name] = value
        return found

    def _label_of(self, parameter: Parameter, recipe: Mapping[str, Any], changed: Callable[..., Any]) -> Value | None:
        """The option of a component that leaves the recipe as it is, but for what is searched below it."""
        assert isinstance(parameter.domain, Choice)
        for label, option in zip(parameter.domain.labels, parameter.domain.choice, strict=True):
            kind = option.get("kind") if isinstance(option, Mapping) else option
            if kind != _at(recipe, f"{parameter.path}.kind"):
                continue
            kept = {}
            for below in self.parameters:
                own = _at(recipe, below.path)
                is_part = below.path.startswith(f"{parameter.path}.")  # and would be as the option's kind has it
                is_kept = own is not None and not (is_part and below.domain.value_of(own) is None)
                if is_kept and below.under == (*parameter.under, (parameter.name, label)):
                    kept[below.path] = own
            if changed({parameter.path: fixed(option), **beside(option), **kept}) == recipe:
                return label
        return None

    def probes(self) -> Iterator[tuple[Parameter, Values]]:
        """Each parameter alone, under the choices it needs, at each option or at both ends."""
        for parameter in self.parameters:
            domain = parameter.domain
            values = domain.labels if isinstance(domain, Choice) else (domain.value(0.0), domain.value(1.0))
            for value in values:
                yield parameter, {**dict(parameter.under), parameter.name: value}

    def grid(self, num_of_ranges: int | None = None) -> Any:
        """Every setting once, in a fixed order; a range gives so many evenly placed values, at most.

        Where it is not said how many, whole numbers all, and a range of real ones its middle.
        """

        def grow(found: dict[str, Value], rest: Sequence[Parameter]) -> Any:
            if not rest:
                yield found
                return
            first, *others = rest
            if not all(found.get(name) == label for name, label in first.under):
                yield from grow(found, others)
                return
            num = first.domain.num_levels or num_of_ranges or 1
            if not isinstance(first.domain, Choice) and num_of_ranges is not None:
                num = min(num, num_of_ranges)
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
                _require_settings(label, option)
                yield from _parameters(_below(path, option), (*under, (name, label)))


def _require_settings(label: str, option: Any) -> None:
    also = option.get(ALSO, {}) if isinstance(option, Mapping) else {}
    if not isinstance(also, Mapping) or not all(isinstance(path, str) for path in also):
        raise ValueError(
            f"`{ALSO}` of the option {label} says settings by their key paths, as {EXAMPLE_OF_ALSO}, not {also!r}"
        )


def _lies_below(path: str, under: tuple[tuple[str, str], ...], above: str) -> bool:
    """Whether a setting lies below another one, of which it is no part of an option."""
    return path.startswith(f"{above}.") and all(name.rpartition(":")[2] != above for name, _ in under)


def _below(path: str, option: Any) -> dict[str, Any]:
    """The domains among an option's own settings and in what goes with it, by key path."""
    if not isinstance(option, Mapping):
        return {}
    own = {path: value for path, value in _flat(path, option) if is_domain(value)}
    return {**own, **{key: value for key, value in option.get(ALSO, {}).items() if is_domain(value)}}


def plainly_set(path: str, option: Any) -> Iterator[str]:
    """The key paths that an option at a path sets, in itself and beside it, with those above nested ones."""
    if isinstance(option, Mapping):
        yield from (inner for inner, value in _flat(path, option) if not is_domain(value))
    for other, value in beside(option).items():
        yield other
        if isinstance(value, Mapping):
            yield from (inner for inner, _ in _flat(other, value))


def _flat(path: str, option: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in option.items():
        if key == ALSO:
            continue
        if isinstance(value, Mapping) and not is_domain(value):
            yield from _flat(f"{path}.{key}", value)
        else:
            yield f"{path}.{key}", value


def fixed(option: Any) -> Any:
    """An option without what is searched below it, and without what goes with it."""
    if not isinstance(option, Mapping):
        return option
    return {key: fixed(value) for key, value in option.items() if key != ALSO and not is_domain(value)}


def beside(option: Any) -> dict[str, Any]:
    """The settings elsewhere that go with an option and are not searched, by key path."""
    with_it = option.get(ALSO, {}) if isinstance(option, Mapping) else {}
    return {path: value for path, value in with_it.items() if not is_domain(value)}


def _at(recipe: Mapping[str, Any], path: str) -> Any:
    """The setting at a key path; None where there is none."""
    found: Any = recipe
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
