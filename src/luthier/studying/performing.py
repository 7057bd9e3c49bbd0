"""What a worker asks of whoever trains: one trial, from where it stands to a rung."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from luthier.interrupt import Stop
from luthier.trials.history import Rung, Trial, Values

PER_UNIT = "seconds_per_unit"
"""Among the facts of a rung: what a unit takes, without what is paid once; a budget in seconds is turned with it."""


@dataclass(frozen=True)
class Judged:
    """What came of a stretch."""

    rung: Rung
    facts: Mapping[str, Any] = field(default_factory=dict)
    """More of it for people: plain values."""
    values: Values | None = None
    """The trial's values where they are known better now, as when `auto` was filled in; None: as they were."""


class Performer(Protocol):
    """Trains trials in one process; it keeps what they share, and their checkpoints, in the search's folder."""

    def perform(self, trial: Trial, until: int) -> Judged:
        """Train a trial from its checkpoint, or anew where this machine has none, to so many units, and judge it.

        The checkpoint is written before this returns. Where the search is to stop, one is written at the next step's
        border, and Interrupted is raised. What else is raised fails this trial only.
        """
        ...

    def forget(self, number: int) -> None:
        """Remove the checkpoint of a trial that will not go on, if there is one."""
        ...


Maker = Callable[[Path, Stop, str], Performer]
"""Makes a worker's performer from the search's folder; it looks at the Stop between steps. The last argument names the
search: checkpoints of another one do not count."""


def maker(name: str) -> Maker:
    """The function that `package.module:function` names."""
    module, _, function = name.partition(":")
    found: Maker = getattr(import_module(module), function)
    return found
