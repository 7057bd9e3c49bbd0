"""What a setting may be: one of a list, or a number between two, by its value or by its logarithm."""

import json
import math
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, Tag, model_validator

from luthier.component import Component
from luthier.trials.history import Value


class Choice(Component):
    """One of several; numbers that rise or fall keep their order."""

    choice: Annotated[tuple[Any, ...], Field(min_length=1)]
    """The options: plain values, or mappings such as {kind: lora}, whose own settings may be domains again."""

    @model_validator(mode="after")
    def _all_differ(self) -> Self:
        if len(set(self.labels)) < len(self.labels):
            raise ValueError(f"two options are alike: {', '.join(self.labels)}")
        return self

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The options as they are called: a component by its kind, with its number where several are of one kind."""
        names = [_label(option) for option in self.choice]
        return tuple(
            f"{name}-{number}" if names.count(name) > 1 and isinstance(self.choice[number - 1], dict) else name
            for number, name in enumerate(names, 1)
        )

    @property
    def is_ordered(self) -> bool:
        """Whether the options are numbers that rise, or fall, from first to last, so that neighbours are alike."""
        if not all(isinstance(option, int | float) and not isinstance(option, bool) for option in self.choice):
            return False
        return len({before < after for before, after in pairwise(self.choice)}) <= 1

    @property
    def num_levels(self) -> int | None:
        return len(self.choice)

    def value(self, unit: float) -> Value:
        """The label of the option at a place between 0 and 1."""
        return self.labels[min(int(unit * len(self.labels)), len(self.labels) - 1)]

    def unit(self, value: Value) -> float:
        """The middle of an option's piece of the line from 0 to 1."""
        return (self.labels.index(str(value)) + 0.5) / len(self.labels)

    def setting(self, value: Value) -> Any:
        """The option of a label."""
        return self.choice[self.labels.index(str(value))]

    def value_of(self, setting: Any) -> Value | None:
        """The label of a setting; None where it is no option."""
        for label, option in zip(self.labels, self.choice, strict=True):
            if _plainly(option) == _plainly(setting) and isinstance(option, bool) == isinstance(setting, bool):
                return label
        return None

    def holds(self, value: Value) -> bool:
        """Whether a label is one of these."""
        return str(value) in self.labels


class _Range(Component):
    """What the ranges of numbers share: a single field with both ends, called as a recipe calls the domain."""

    @property
    def ends(self) -> tuple[float, float]:
        """Least and most."""
        (name,) = type(self).model_fields
        found: tuple[float, float] = getattr(self, name)
        return found

    @model_validator(mode="after")
    def _rises(self) -> Self:
        least, most = self.ends
        if not least < most:
            raise ValueError(f"reads [least, most], but {least} is not below {most}")
        return self

    @property
    def is_ordered(self) -> bool:
        return True

    @property
    def num_levels(self) -> int | None:
        return None

    def setting(self, value: Value) -> Any:
        return value

    def value_of(self, setting: Any) -> Value | None:
        """The value of a setting; None where it lies outside."""
        if isinstance(setting, bool) or not isinstance(setting, int | float):
            return None
        return setting if self.ends[0] <= setting <= self.ends[1] else None

    def holds(self, value: Value) -> bool:
        """Whether a value lies in the range."""
        return self.value_of(value) is not None


class Uniform(_Range):
    """Any number between two."""

    uniform: tuple[float, float]
    """Least and most."""

    def value(self, unit: float) -> Value:
        low, high = self.uniform
        return min(high, max(low, low + (high - low) * unit))  # 0.3 + (0.85 - 0.3) is more than 0.85

    def unit(self, value: Value) -> float:
        low, high = self.uniform
        return _clipped((float(value) - low) / (high - low))


class Log(_Range):
    """Any number between two above zero, by its logarithm: 1e-5 to 1e-4 is as wide as 1e-4 to 1e-3."""

    log: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
    """Least and most."""

    def value(self, unit: float) -> Value:
        low, high = self.log
        found: float = low * (high / low) ** unit
        return min(high, max(low, found))

    def unit(self, value: Value) -> float:
        low, high = self.log
        return _clipped(math.log(float(value) / low) / math.log(high / low)) if float(value) > 0 else 0.0


class Whole(_Range):
    """Any whole number between two, both included."""

    int: tuple[int, int]
    """Least and most."""

    @property
    def num_levels(self) -> Any:
        return self.int[1] - self.int[0] + 1

    def value(self, unit: float) -> Value:
        low, high = self.int
        value: Value = min(high, low + math.floor(unit * (high - low + 1)))
        return value

    def unit(self, value: Value) -> float:
        low, high = self.int
        return _clipped((float(value) - low + 0.5) / (high - low + 1))

    def value_of(self, setting: Any) -> Value | None:
        return None if isinstance(setting, float) else super().value_of(setting)


def _which(value: Any) -> str | None:
    """The word that says which domain it is; None where there is none."""
    said = value if isinstance(value, dict) else type(value).model_fields if isinstance(value, Component) else {}
    return next((name for name in WORDS if name in said), None)


WORDS = ("choice", "log", "uniform", "int")
Domain = Choice | Log | Uniform | Whole
SaidDomain = Annotated[
    Annotated[Choice, Tag("choice")]
    | Annotated[Log, Tag("log")]
    | Annotated[Uniform, Tag("uniform")]
    | Annotated[Whole, Tag("int")],
    Discriminator(
        _which,
        custom_error_type="no_domain",
        custom_error_message="say {choice: [a, b]}, {log: [1e-5, 1e-3]}, {uniform: [0, 1]} or {int: [1, 8]}",
    ),
]
"""A domain as a recipe says it."""


def is_domain(value: Any) -> bool:
    """Whether a recipe's value is meant as a domain, not as a setting."""
    return isinstance(value, dict) and len(value) == 1 and next(iter(value)) in WORDS


def _label(option: Any) -> str:
    if isinstance(option, dict):
        return str(option.get("kind", option))
    if isinstance(option, list | tuple):
        return "+".join(map(_label, option))
    is_word = option is None or isinstance(option, bool)  # null, true and false, as YAML has them
    return json.dumps(option) if is_word else str(option)


def _plainly(setting: Any) -> Any:
    """A setting with lists for tuples: a recipe has these, its YAML those."""
    return list(setting) if isinstance(setting, tuple) else setting


def _clipped(unit: float) -> float:
    return min(1.0, max(0.0, unit))
