"""A search as it stands: what screen, page and words look at, while it runs and after it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from luthier.trials.domains import Choice, Log, Uniform, Whole
from luthier.trials.history import History, Rung, Terms, Trial, Values
from luthier.trials.ranking import pareto_front
from luthier.trials.space import Parameter, Space

COSTS = ("seconds", "parameters", "memory_gib")
"""Objectives that are no metric: a trial's seconds so far, parameters that learn, most memory of a step."""
NEAR_END = 0.03
"""Share of a range that is its end."""
UNKNOWN = 2**60
"""Units from which a budget is one that is not known yet."""


@dataclass(frozen=True)
class Goal:
    """One objective, as people know it."""

    name: str
    higher_is_better: bool

    def score(self, value: float) -> float:
        """The score of a history's value, which is turned so that lower is better."""
        return -value if self.higher_is_better else value


@dataclass(frozen=True)
class Arrival:
    """A trial came to a rung."""

    number: int
    resource: int


@dataclass(frozen=True)
class Standing:
    """All trials, what they are judged by, and what may be spent."""

    history: History
    space: Space
    goals: tuple[Goal, ...]
    terms: Terms
    reasons: Mapping[int, str] = field(default_factory=dict)
    """Why trials failed, by their numbers."""
    course: tuple[Arrival, ...] = ()
    """In the order of time; empty where it is not known."""
    duration_s: float = 0.0
    """Since the search began, without the time in which nobody worked at it."""
    limit_s: float | None = None
    """When it ends at the latest; None: when the units are spent."""

    @property
    def goal(self) -> Goal:
        """The first objective, by which there is one winner."""
        return self.goals[0]

    @property
    def seconds(self) -> float:
        """Paid by all trials together; with several workers that is more than the time that went by."""
        return sum(trial.last.seconds for trial in self.history.trials if trial.last)

    @property
    def used(self) -> int:
        """Units that were judged, or were given to a trial that failed or runs."""
        return sum(
            trial.resource if trial.state in ("paused", "done") else trial.committed for trial in self.history.trials
        )

    @property
    def units(self) -> int | None:
        """The budget in units; None where it is not known yet, as seconds before the first rung."""
        return self.terms.units if self.terms.units < UNKNOWN else None

    def full_runs(self, units: float) -> float:
        """Units as full runs, which is how people count a budget."""
        return units / self.terms.horizon

    def in_state(self, *states: str) -> list[Trial]:
        return [trial for trial in self.history.trials if trial.state in states]

    @property
    def candidates(self) -> list[Trial]:
        """Trials that may win: judged at the highest place that any feasible one came to, and feasible there."""
        feasible = [t for t in self.history.trials if t.state != "failed" and t.last and t.last.is_feasible]
        top = max((trial.resource for trial in feasible), default=0)
        return [trial for trial in feasible if trial.resource == top]

    @property
    def best(self) -> Trial | None:
        """The best by the first objective among those; of equals the earlier one."""
        return min(self.candidates, key=lambda trial: (rung_of(trial).values[0], trial.number), default=None)

    @property
    def front(self) -> list[Trial]:
        """The candidates that no other one dominates, by the first objective."""
        found = self.candidates
        kept = pareto_front(found, found[0].resource) if found else []
        return sorted(kept, key=lambda trial: rung_of(trial).values)

    @property
    def default(self) -> Trial | None:
        """The recipe as it stands."""
        return next((trial for trial in self.history.trials if trial.number == 0), None)


@dataclass(frozen=True)
class Edge:
    """A setting of the winner that lies at an end of its range: beyond may be better still."""

    path: str
    value: float | int | str
    is_upper: bool
    ends: tuple[float, float]


def edges(space: Space, values: Values) -> list[Edge]:
    """Those of numbers; where a range begins at zero there may be nothing below, so that end is none."""
    found = (_edge(parameter, values[parameter.name]) for parameter in space.active(values) if parameter.name in values)
    return [edge for edge in found if edge is not None]


def rung_of(trial: Trial) -> Rung:
    """The last rung of a trial that has one."""
    assert trial.last is not None
    return trial.last


def _edge(parameter: Parameter, value: float | int | str) -> Edge | None:
    ends = ends_of(parameter)
    if ends is None:
        return None
    place, domain = parameter.domain.unit(value), parameter.domain
    is_stepped = isinstance(domain, Choice | Whole)
    if is_stepped and (domain.num_levels or 0) < 3:
        return None  # of two, either is an end
    number = float(value)
    is_upper = number == ends[1] if is_stepped else place > 1 - NEAR_END
    is_lower = ends[0] > 0 and (number == ends[0] if is_stepped else place < NEAR_END)
    return Edge(parameter.path, value, is_upper, ends) if is_upper or is_lower else None


def ends_of(parameter: Parameter) -> tuple[float, float] | None:
    """The least and the most of a domain of numbers; None of one of words."""
    match parameter.domain:
        case Log(log=ends) | Uniform(uniform=ends) | Whole(int=ends):
            return ends
        case Choice(choice=options) if parameter.domain.is_ordered:
            return min(options), max(options)
        case _:
            return None
