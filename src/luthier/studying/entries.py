"""A trial as the store keeps it: one text of JSON, with what the history knows of it and what only workers need.

Scores are kept as people know them; they are turned, so that lower is better, where the history is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from luthier.studying.standing import Goal
from luthier.trials.history import History, Rung, State, Trial


@dataclass(frozen=True)
class Landing:
    """What is kept beside a rung."""

    at: float
    """When it was judged: seconds since 1970."""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One trial in the store."""

    trial: Trial
    id: int
    """Optuna's own."""
    worker: str = ""
    """Who has it, or had it last."""
    num_losses: int = 0
    """How many workers were killed at it since its last rung."""
    reason: str | None = None
    """Why it failed."""
    landings: tuple[Landing, ...] = ()
    """One for each rung."""

    def written(self, goals: Sequence[Goal]) -> dict[str, Any]:
        """As JSON; state, number and id are Optuna's to keep."""
        rungs = [
            {
                "resource": rung.resource,
                "values": turned(rung.values, goals),
                "seconds": rung.seconds,
                "excess": list(rung.excess),
                "at": landing.at,
                "facts": dict(landing.facts),
            }
            for rung, landing in zip(self.trial.rungs, self.landings, strict=True)
        ]
        return {
            "values": dict(self.trial.values),
            "target": self.trial.target,
            "bracket": self.trial.bracket,
            "worker": self.worker,
            "losses": self.num_losses,
            "reason": self.reason,
            "rungs": rungs,
        }

    @classmethod
    def of(cls, told: Mapping[str, Any], goals: Sequence[Goal], *, id: int, number: int, state: State) -> "Entry":
        """What `written` wrote."""
        rungs = tuple(rung_of(each, goals) for each in told["rungs"])
        trial = Trial(number, told["values"], state, told["target"], told["bracket"], rungs)
        landings = tuple(Landing(each["at"], each["facts"]) for each in told["rungs"])
        return cls(trial, id, told["worker"], told["losses"], told["reason"], landings)

    def changed(self, trial: Mapping[str, Any] | None = None, **own: Any) -> "Entry":
        """With other fields, of the trial and of its own."""
        return replace(self, trial=replace(self.trial, **(trial or {})), **own)


@dataclass(frozen=True)
class Snapshot:
    """All trials at one moment, by number."""

    entries: tuple[Entry, ...] = ()
    earlier: tuple[Trial, ...] = ()
    """Of earlier searches of the same space."""

    @cached_property
    def history(self) -> History:
        return History(tuple(entry.trial for entry in self.entries), self.earlier)

    @property
    def reasons(self) -> dict[int, str]:
        """Why trials failed."""
        return {entry.trial.number: entry.reason for entry in self.entries if entry.reason}

    def held_by(self, place: str) -> list[Entry]:
        """Running trials of a worker, or of all workers of a place."""
        running = (entry for entry in self.entries if entry.trial.state == "running")
        return [entry for entry in running if entry.worker == place or entry.worker.startswith(f"{place}/")]


def written_alone(trial: Trial, goals: Sequence[Goal]) -> dict[str, Any]:
    """A trial of another search, as JSON."""
    entry = Entry(trial, -1, landings=tuple(Landing(0.0) for _ in trial.rungs))
    return {"state": trial.state, "number": trial.number, **entry.written(goals)}


def read_alone(told: Mapping[str, Any], goals: Sequence[Goal]) -> Trial:
    """What `written_alone` wrote."""
    return Entry.of(told, goals, id=-1, number=told["number"], state=told["state"]).trial


def rung_of(told: Mapping[str, Any], goals: Sequence[Goal]) -> Rung:
    return Rung(told["resource"], tuple(turned(told["values"], goals)), told["seconds"], tuple(told["excess"]))


def turned(values: Sequence[float], goals: Sequence[Goal]) -> list[float]:
    """Scores as values that are better when lower, or back."""
    return [-value if goal.higher_is_better else value for value, goal in zip(values, goals, strict=True)]
