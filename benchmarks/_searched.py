"""What searchers are compared on: MFHartmann of mf-prior-bench, and BBOB of coco-experiment.

Both are functions on a cube, so a trial takes no time; what is counted is the budget. A run of MFHartmann is judged at
11, 33 and 100 of its 100 units of fidelity, and costs 1, 3 and 9.
"""

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HORIZON, ETA = 9, 3
RUNGS = (1, 3, 9)
NUM_RUNS = 40
MFHARTMANN = tuple(f"mfh{axes}_{kind}" for axes in (3, 6) for kind in ("good", "moderate", "bad", "terrible"))
BBOB = tuple(f"bbob-{function}-{axes}" for axes in (2, 5, 10) for function in (1, 8, 15, 21))
"""Sphere, Rosenbrock's, Rastrigin's turned, Gallagher's 101 peaks."""
LEAST = {"mfh3": -3.86278, "mfh6": -3.32237}


@dataclass(frozen=True)
class Task:
    """A function of numbers between 0 and 1; lower is better."""

    num_axes: int
    least: float
    """Its minimum at the horizon."""
    value: Callable[[Mapping[str, float], int], float]
    """Of a point, by the names of its axes, after so many units."""
    has_rungs: bool


def task(name: str, *, seed: int) -> Task:
    """A task by its name; the seed is that of the noise, or chooses BBOB's instance."""
    return _bbob(name, seed) if name.startswith("bbob") else _mfhartmann(name, seed)


def axes(num: int) -> list[str]:
    return [f"X_{axis}" for axis in range(num)]


def _mfhartmann(name: str, seed: int) -> Task:
    import mfpbench

    bench = mfpbench.get(name, seed=seed + 1)  # 0 would stand for a default

    def value(point: Mapping[str, float], units: int) -> float:
        return float(bench.mfh(z=round(100 * units / HORIZON), Xs=tuple(point.values())))

    return Task(int(name[3]), LEAST[name[:4]], value, has_rungs=True)


def _bbob(name: str, seed: int) -> Task:
    import cocoex

    _, function, num_axes = name.split("-")
    options = f"function_indices:{function} dimensions:{num_axes} instance_indices:{seed % 15 + 1}"
    suite = cocoex.Suite("bbob", "", options)
    problem = suite.get_problem(0)

    def value(point: Mapping[str, float], units: int) -> float:
        assert len(suite) == 1  # a problem ends with its suite
        return float(problem([10 * each - 5 for each in point.values()]))

    return Task(int(num_axes), float(problem(_best_point(problem))), value, has_rungs=False)


def _best_point(problem: Any) -> Any:
    """Where the minimum lies; the package tells it through a file in the working directory."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        try:
            os.chdir(folder)
            problem._best_parameter("print")
            return [float(each) for each in Path("._bbob_problem_best_parameter.txt").read_text().split()]
        finally:
            os.chdir(before)
