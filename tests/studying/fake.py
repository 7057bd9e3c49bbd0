"""A performer without a model: its "training" is arithmetic, deterministic and resumable; it notes all that it does.

Told by fake.json in the search's folder: how long a unit takes, and which trials break, and how.
"""

import errno
import fcntl
import json
import math
import os
import signal
import time
from pathlib import Path
from typing import Any

from luthier import files
from luthier.errors import TrainingError
from luthier.interrupt import Interrupted, Stop
from luthier.searching.samplers.random import Random
from luthier.searching.schedulers import Scheduler
from luthier.searching.schedulers.asha import Asha
from luthier.studying.performing import Judged
from luthier.studying.plan import Plan
from luthier.studying.standing import Goal
from luthier.trials.history import Rung, Trial
from luthier.trials.space import Space

SPACE = Space.of(
    {
        "training.learning_rate": {"log": [1e-5, 1e-2]},
        "method": {"choice": [{"kind": "lora", "rank": {"int": [1, 64]}}, {"kind": "head"}]},
        "training.warmup": {"uniform": [0, 0.5]},
    }
)
DEFAULT = {"training.learning_rate": 1e-3, "method": "lora", "method=lora:method.rank": 8}


def plan(scheduler: Scheduler | None = None, *, seed: int = 0, eta: int = 3, horizon: int = 9) -> Plan:
    """One objective, better when higher."""
    goals = (Goal("accuracy", True),)
    return Plan(SPACE, goals, Random(), scheduler or Asha(), horizon=horizon, eta=eta, seed=seed, default=DEFAULT)


class Fake:
    """See `Performer`."""

    def __init__(self, folder: Path, stop: Stop, study: str = "") -> None:
        self._folder, self._stop = folder, stop
        told = folder / "fake.json"
        self._told: dict[str, Any] = json.loads(told.read_text()) if told.is_file() else {}

    def perform(self, trial: Trial, until: int) -> Judged:
        place = self._folder / "trials" / str(trial.number)
        place.mkdir(parents=True, exist_ok=True)
        with (place / "held").open("a") as lock:
            try:
                fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._note("doubled.log", str(trial.number))
                raise
            return self._perform(trial, until, place / "checkpoint.json")

    def _perform(self, trial: Trial, until: int, checkpoint: Path) -> Judged:
        state: dict[str, Any] = {"unit": 0, "weight": 0.0}
        if checkpoint.is_file():
            state = json.loads(checkpoint.read_text())
        self._break(trial)
        for unit in range(state["unit"] + 1, until + 1):
            time.sleep(self._told.get("unit_s", 0.0))
            self._note("units.log", f"{trial.number} {unit}")
            state = {"unit": unit, "weight": step(state["weight"], unit, trial)}
            if self._stop.asked_by is not None and unit < until:
                files.write_json(checkpoint, state)
                raise Interrupted(self._stop.asked_by, "stopped")
        files.write_json(checkpoint, state)
        return Judged(Rung(until, (-score(state["weight"], trial),), float(until)), {"weight": state["weight"]})

    def _break(self, trial: Trial) -> None:
        how = self._told.get("breaks", {}).get(str(trial.number)) or self._told.get("breaks", {}).get("all")
        if how == "nan":
            raise TrainingError(f"step {trial.number}: the loss is nan")
        if how == "memory":
            raise MemoryError("no memory left")
        if how == "disk":
            raise OSError(errno.ENOSPC, "No space left on device")
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)

    def forget(self, number: int) -> None:
        checkpoint = self._folder / "trials" / str(number) / "checkpoint.json"
        if checkpoint.is_file():
            checkpoint.unlink()
            self._note("forgotten.log", str(number))

    def _note(self, name: str, line: str) -> None:
        with (self._folder / name).open("a") as log:
            log.write(f"{line}\n")


def step(weight: float, unit: int, trial: Trial) -> float:
    """The weight after one more unit."""
    rate = float(trial.values["training.learning_rate"])
    return 0.9 * weight + math.sin(unit + 1000 * rate)


def score(weight: float, trial: Trial) -> float:
    """Of a weight, as an accuracy."""
    return 1 / (1 + math.exp(-weight)) / (2 if trial.values["method"] == "head" else 1)


def broken(folder: Path, stop: Stop, study: str) -> Fake:
    """A maker that cannot make one."""
    raise TrainingError(f"{folder.name}: its model cannot be loaded")


def units_of(folder: Path) -> list[tuple[int, int]]:
    """Every unit that was computed, as (trial, unit), in the order of time."""
    lines = (folder / "units.log").read_text().splitlines()
    return [(int(number), int(unit)) for number, unit in map(str.split, lines)]
