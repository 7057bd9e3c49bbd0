"""What a search has seen so far, as plain values: every trial, how far it came, what it scored there, what it cost.

How far is counted in units: a full run has `horizon` of them, whatever its own number of steps. Objectives are turned
so that lower is better.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Value = float | int | str
"""Of a parameter: a number, or the label of a choice."""
Values = Mapping[str, Value]
"""By the parameters' names; those that do not apply are left out."""
State = Literal["running", "paused", "done", "failed"]


@dataclass(frozen=True)
class Rung:
    """A trial as it was judged at one place of its course."""

    resource: int
    """Units since its beginning."""
    values: tuple[float, ...]
    """One for each objective; lower is better."""
    seconds: float
    """Of training and judging since its beginning, without what trials share, as the loading of the base."""
    excess: tuple[float, ...] = ()
    """For each constraint by how much it is broken; 0 or less: it holds."""

    @property
    def is_feasible(self) -> bool:
        return all(each <= 0 for each in self.excess)


@dataclass(frozen=True)
class Trial:
    """One setting of the parameters, and its course."""

    number: int
    values: Values
    state: State
    target: int
    """Units that it runs to, or came to."""
    bracket: int = 0
    """Which of the scheduler's groups it is compared in."""
    rungs: tuple[Rung, ...] = ()
    """In rising order."""

    @property
    def last(self) -> Rung | None:
        return self.rungs[-1] if self.rungs else None

    @property
    def resource(self) -> int:
        """Units that it has been judged at; 0 before the first rung."""
        return self.rungs[-1].resource if self.rungs else 0

    @property
    def committed(self) -> int:
        """Units that it took or will take; one that failed took what it was given."""
        return self.target

    def at(self, resource: int) -> Rung | None:
        """Its rung at so many units, if it was judged there."""
        for rung in self.rungs:
            if rung.resource == resource:
                return rung
        return None


@dataclass(frozen=True)
class Terms:
    """What a search may spend, and how finely a run can be cut."""

    horizon: int
    """Units of a full run: a power of `eta`."""
    eta: int
    """One in so many goes on from a rung."""
    units: int
    """Most units of all trials together."""
    num_objectives: int = 1
    """How many values a rung has."""


@dataclass(frozen=True)
class History:
    """All trials, by number; and those of earlier searches of the same space, which only samplers look at."""

    trials: tuple[Trial, ...] = ()
    earlier: tuple[Trial, ...] = field(default=())
    is_for_look: bool = False
    """Whether a sampler is asked for a trial that begins with a short look, beside those that wait and may go on."""

    @property
    def committed(self) -> int:
        """Units that are spent or promised."""
        return sum(trial.committed for trial in self.trials)

    @property
    def is_running(self) -> bool:
        return any(trial.state == "running" for trial in self.trials)

    def in_bracket(self, bracket: int) -> tuple[Trial, ...]:
        return tuple(trial for trial in self.trials if trial.bracket == bracket)
