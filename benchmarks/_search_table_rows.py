"""The table of real fine-tuning: its space, its columns, its rows, and which of them is nearest to a setting."""

import csv
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from luthier.trials.history import Terms, Value, Values
from luthier.trials.space import Space

TABLE = Path(__file__).parent / "results" / "search-table.csv"
ETA, RUNGS = 3, (1, 3, 9)
"""Units at which each configuration was judged; the last is a full run."""
HORIZON = RUNGS[-1]
MEASURED = ("loss", "accuracy", "seconds")
Score = Literal["loss", "error"]
"""Lower is better; error: 1 - accuracy."""


def _with_rate(method: dict[str, Any], advised: float) -> dict[str, Any]:
    """A method with a learning rate of its own: two decades, as luthier's auto space has them, around thrice the
    advised one, for a run has few steps."""
    return {**method, "with": {"training.learning_rate": {"log": [advised * 0.3, advised * 30]}}}


SPACE: dict[str, Any] = {
    "method": {
        "choice": [
            _with_rate({"kind": "lora", "rank": {"choice": [2, 4, 8, 16, 32]}}, 1e-3),
            _with_rate({"kind": "adapter", "reduction": {"choice": [4.0, 8.0, 16.0, 32.0]}}, 1e-3),
            _with_rate({"kind": "partial", "train": ["last-1", "head"]}, 2e-4),
            _with_rate({"kind": "partial", "train": ["last-2", "head"]}, 2e-4),
            _with_rate({"kind": "partial", "train": ["last-4", "head"]}, 2e-4),
            _with_rate({"kind": "partial", "train": ["head"]}, 1e-2),
            _with_rate({"kind": "partial", "train": ["bias", "head"]}, 1e-3),
        ]
    },
    "training.batch_size": {"choice": [8, 16, 32]},
    "training.optimizer.weight_decay": {"choice": [0.0, 0.01, 0.1]},
    "training.schedule.warmup": {"uniform": [0.0, 0.2]},
}
FAMILY = "method"
"""The parameter within whose options a setting is brought to its nearest configuration."""


@dataclass(frozen=True)
class Configuration:
    """A row of the table, and its course."""

    number: int
    values: Values
    loss: dict[int, float]
    """By units; those after a failure are missing."""
    accuracy: dict[int, float]
    seconds: dict[int, float]
    """Of the CPU since its beginning; of a failed one until it failed too."""

    def scored(self, units: int, score: Score) -> float | None:
        """Lower is better; None: it failed before."""
        if units not in self.loss:
            return None
        return self.loss[units] if score == "loss" else 1 - self.accuracy[units]


class Table:
    """All configurations."""

    def __init__(self, rows: list[Configuration], space: Space) -> None:
        self.rows, self.space = rows, space
        self._places = np.array([space.units(row.values) for row in rows])
        self._families = np.array([str(row.values[FAMILY]) for row in rows])
        self._by_key = {_key(row.values): row for row in rows}

    @classmethod
    def read(cls, path: Path = TABLE) -> "Table":
        """The table of a file, in the order of its numbers."""
        space = Space.of(SPACE)
        with path.open(encoding="utf-8", newline="") as file:
            rows = [_row(said, space) for said in csv.DictReader(file)]
        return cls(sorted(rows, key=lambda row: row.number), space)

    @property
    def labels(self) -> list[str]:
        """The methods."""
        return list(dict.fromkeys(sorted(self._families)))

    def of(self, values: Values) -> Configuration:
        """The row of a configuration of the table."""
        return self._by_key[_key(values)]

    def nearest(self, values: Values, *, used: Collection[int]) -> Configuration | None:
        """The nearest in the unit cube that is not used, of the same method while there are any; None: all are used."""
        is_free = np.array([row.number not in used for row in self.rows])
        if not is_free.any():
            return None
        is_alike = is_free & (self._families == str(values[FAMILY]))
        distances = ((self._places - np.array(self.space.units(values))) ** 2).sum(axis=1)
        distances[~(is_alike if is_alike.any() else is_free)] = np.inf
        return self.rows[int(distances.argmin())]

    def best(self, score: Score) -> float:
        """The best full run's."""
        return min(found for row in self.rows if (found := row.scored(HORIZON, score)) is not None)

    def terms(self, num_runs: int) -> Terms:
        return Terms(HORIZON, ETA, num_runs * HORIZON)


def columns(space: Space) -> list[str]:
    """Number, a parameter each, then loss, accuracy and seconds at each rung, then why it failed."""
    measured = [f"{name}@{until}" for until in RUNGS for name in MEASURED]
    return ["number", *(parameter.name for parameter in space.parameters), *measured, "failed"]


def _row(said: dict[str, str], space: Space) -> Configuration:
    values: dict[str, Value] = {}
    for parameter in space.parameters:
        if text := said[parameter.name]:
            is_choice = parameter.domain.num_levels is not None
            values[parameter.name] = text if is_choice else float(text)
    measured = {name: {until: float(text) for until in RUNGS if (text := said[f"{name}@{until}"])} for name in MEASURED}
    return Configuration(int(said["number"]), values, **measured)


def _key(values: Values) -> frozenset[tuple[str, str]]:
    return frozenset((name, repr(value)) for name, value in values.items())
