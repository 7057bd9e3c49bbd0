"""What a search varies: weights and densities, of each model and each group of tensors, as a point of the unit cube.

A point's values are rounded as a recipe writes them, so that what was judged is what a recipe makes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from luthier.errors import MergeError
from luthier.merging.methods import Each, Merge, merge_of
from luthier.merging.searching.groups import ALL

Point = tuple[float, ...]
"""A number from 0 to 1 for each dimension."""
Settings = dict[str, dict[str, Any]]
"""Model -> setting -> its value, or its values by the selectors of groups; what is of no single model is under ""."""
RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"weight": (0.0, 1.5), "density": (0.05, 1.0), "t": (0.0, 1.0)}
)
"""Settings that are searched, and between what."""
SHARED = ""
"""In place of a model's label."""
DECIMALS = 3


@dataclass(frozen=True)
class Dimension:
    """One number."""

    model: str
    setting: str
    group: str
    low: float
    high: float

    def value(self, place: float) -> float:
        """Of a place from 0 to 1."""
        return round(self.low + place * (self.high - self.low), DECIMALS)

    def place(self, value: float) -> float:
        """Of a value, which is brought between the ends."""
        return (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Space:
    """All of them, for a kind of merge."""

    kind: str
    models: tuple[str, ...]
    groups: Mapping[str, str]
    """Tensor -> the selector of its group."""
    fixed: Mapping[str, Any]
    """Settings that are not searched."""
    dimensions: tuple[Dimension, ...]

    @classmethod
    def of(
        cls,
        kind: str,
        models: Sequence[str],
        groups: Mapping[str, str],
        *,
        fixed: Mapping[str, Any] = MappingProxyType({}),
        ranges: Mapping[str, tuple[float, float]] = RANGES,
    ) -> "Space":
        """The numbers that a kind has, where they are not fixed.

        Raises MergeError where it has none.
        """
        merge = merge_of(kind)
        selectors = sorted(set(groups.values()), key=lambda each: (each != ALL, each))  # the last that fits counts
        found = list[Dimension]()
        for setting, (low, high) in ranges.items():
            if setting not in merge.model_fields or setting in fixed:
                continue
            is_of_each = merge.model_fields[setting].annotation == Each
            is_whole = setting == "density" and _trims_the_model(merge, fixed)
            for model in models if is_of_each else (SHARED,):
                for group in (ALL,) if is_whole else selectors:
                    found.append(Dimension(model, setting, group, low, high))
        if not found:
            raise MergeError(
                f"search: {kind} has no {', '.join(ranges)} that could be searched for; name another method"
            )
        return cls(kind, tuple(models), groups, fixed, tuple(found))

    @cached_property
    def merge(self) -> type[Merge]:
        return merge_of(self.kind)

    def values(self, point: Point) -> dict[Dimension, float]:
        """Of each dimension."""
        return {each: each.value(place) for each, place in zip(self.dimensions, point, strict=True)}

    def settings(self, point: Point) -> Settings:
        """As a recipe says them."""
        found: Settings = {}
        for dimension, value in self.values(point).items():
            found.setdefault(dimension.model, {}).setdefault(dimension.setting, {})[dimension.group] = value
        return {
            model: {name: by[ALL] if set(by) == {ALL} else by for name, by in settings.items()}
            for model, settings in found.items()
        }

    def method(self, point: Point) -> Callable[[str], Merge]:
        """What merges each tensor, by its name."""
        values = self.values(point)
        made = {group: self._merge_of(group, values) for group in dict.fromkeys(self.groups.values())}
        return lambda tensor: made[self.groups[tensor]]

    @property
    def uniform(self) -> tuple[Point, ...]:
        """Equal weights, and the kind's own density: the whole sum of what models learnt, and their mean."""
        normalises = self._default("normalize") not in (None, False, "none")
        weights = (1.0,) if normalises else (1.0, 1 / len(self.models))
        points = [tuple(each.place(self._usual(each, weight)) for each in self.dimensions) for weight in weights]
        return tuple(dict.fromkeys(points))

    def recipe(self, point: Point, *, paths: Mapping[str, str], base: str | None) -> dict[str, Any]:
        """A merge's recipe in the house's own form; `paths` are where the models lie, by their labels."""
        settings = self.settings(point)
        models = [{"model": paths[label], **settings.get(label, {})} for label in self.models]
        shared = {"merge": {"kind": self.kind, **self.fixed}, **settings.get(SHARED, {})}
        return {**shared, **({"base": base} if base else {}), "models": models}

    def _merge_of(self, group: str, values: Mapping[Dimension, float]) -> Merge:
        found: dict[str, Any] = dict(self.fixed)
        for setting in dict.fromkeys(each.setting for each in self.dimensions):
            own = {d.model: value for d, value in values.items() if d.setting == setting and d.group in (group, ALL)}
            own |= {d.model: value for d, value in values.items() if d.setting == setting and d.group == group}
            found[setting] = own[SHARED] if SHARED in own else tuple(own[model] for model in self.models)
        try:
            return self.merge.model_validate(found)
        except ValidationError as error:
            first = error.errors()[0]
            raise MergeError(f"search: {self.kind}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None

    def _usual(self, dimension: Dimension, weight: float) -> float:
        if dimension.setting == "weight":
            return weight
        default = self._default(dimension.setting)
        return float(default[0] if isinstance(default, tuple) else default)

    def _default(self, setting: str) -> Any:
        style = self.merge.styles.get(str(self.fixed.get("style")), {})
        field = self.merge.model_fields.get(setting)
        return {**({setting: field.default} if field else {}), **style, **self.fixed}.get(setting)


def _trims_the_model(merge: type[Merge], fixed: Mapping[str, Any]) -> bool:
    """Whether a density is one of the whole model, as the largest are sought in all of it."""
    field = merge.model_fields.get("trim")
    style = merge.styles.get(str(fixed.get("style")), {})
    return field is not None and {"trim": field.default, **style, **fixed}["trim"] == "model"
