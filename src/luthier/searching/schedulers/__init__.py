"""Which trial gets how much more. One file a scheduler; this is the contract.

A scheduler keeps no state: it decides from the history alone. Whatever it pauses goes on later from its checkpoint, so
a promotion costs the difference only.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from luthier.component import Component
from luthier.trials.history import History, Terms
from luthier.trials.space import Space


@dataclass(frozen=True)
class Begin:
    """A new trial, up to so many units."""

    until: int
    bracket: int = 0


@dataclass(frozen=True)
class Promote:
    """A paused trial goes on, up to so many units."""

    number: int
    until: int


@dataclass(frozen=True)
class Wait:
    """Nothing can be said before a running trial comes to its rung."""


@dataclass(frozen=True)
class End:
    """Nothing is left that the budget pays for."""


Decision = Begin | Promote | Wait | End


class Scheduler(Component, ABC):
    """Says who begins, who goes on, and when the budget is spent."""

    advises: ClassVar[str | None] = None
    """The kind of sampler that goes with it, where it is one by its definition."""
    advises_with: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """That sampler's settings."""

    @abstractmethod
    def options(self, history: History, terms: Terms) -> Iterator[Begin | Promote]:
        """What could be done now, the best first; none where that depends on trials that are running."""

    def decide(self, history: History, terms: Terms, *, can_begin: bool = True) -> Decision:
        """The first option that the rest of the budget pays for. `can_begin`: the sampler has more to propose.

        What was cut off before it came to its rung goes on first.
        """
        for trial in history.trials:
            if trial.state == "paused" and trial.resource < trial.target:
                return Promote(trial.number, trial.target)
        left = terms.units - history.committed
        for option in self.options(history, terms):
            if isinstance(option, Begin):
                cost = option.until if can_begin else left + 1
            else:
                cost = option.until - history.trials[option.number].resource
            if cost <= left:
                return option
        return Wait() if history.is_running else End()

    def resolved(self, space: Space, terms: Terms) -> "Scheduler":
        """The scheduler that does it for this space and budget; usually this one."""
        return self

    def hopeless(self, history: History, terms: Terms) -> frozenset[int]:
        """Paused trials that will never go on, so that their checkpoints may go; those of an ended search are all."""
        return frozenset()
