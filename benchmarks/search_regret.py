"""How near searchers come to a known minimum: Luthier's against Optuna's and Syne Tune's, on MFHartmann and BBOB.

    python -m venv ENV && ENV/bin/pip install mf-prior-bench coco-experiment optuna==5.0.0 torch==2.13.0 pydantic rich
    ENV/bin/pip install --no-deps syne-tune==0.16.0   # and, as it says, what it lacks, but for a newer numpy
    PYTHONPATH=src ENV/bin/python -m benchmarks.search_regret [--seeds 20] [--minutes 60] [--tasks mfh6_good ...]

An environment of its own, for mf-prior-bench wants numpy 1.26. The budget is that of 40 full runs; told is the median
over seeds of the regret: how far the best full run is from the minimum, after a quarter, half and all of the budget.
All searchers have one worker; those of Optuna and Syne Tune stop and never go on, Luthier's pause and resume. Seeds
that the result has already are not run again, so that it may be made in pieces; seed by seed, so that a piece is
balanced.
"""

import argparse
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks._record import RESULTS, write
from benchmarks._searched import BBOB, MFHARTMANN, NUM_RUNS, task
from benchmarks._searchers import NEED_RUNGS, OURS, PEERS, SHARES, regrets
from luthier.extras import is_there

Runs = dict[str, dict[str, dict[str, list[float | None]]]]
"""Regrets by task, searcher and seed."""
NONE_YET = float("inf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=[*MFHARTMANN, *BBOB])
    parser.add_argument("--searchers", nargs="+", default=[*OURS, *PEERS])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=60.0, help="no further run begins after these (60)")
    parser.add_argument("--name", default="search-regret", help="of the file in benchmarks/results")
    parser.add_argument("--again", action="store_true", help="run what the result has already, too")
    asked = parser.parse_args()
    if not is_there("mfpbench") or not is_there("cocoex"):
        print("needs an environment of its own: python -m benchmarks.search_regret --help")
        return
    end = time.monotonic() + 60 * asked.minutes
    runs = _kept(asked.name)
    for seed in range(asked.seeds):
        for name in asked.tasks:
            for searcher in asked.searchers:
                if time.monotonic() > end or (name in BBOB and searcher in NEED_RUNGS and searcher != "auto"):
                    continue
                of = runs.setdefault(name, {}).setdefault(searcher, {})
                if str(seed) in of and not asked.again:
                    continue
                of[str(seed)] = _alike(runs, name, searcher, seed) or regrets(
                    task(name, seed=seed), searcher, seed=seed
                )
            write(asked.name, table(runs), setting={"full_runs": NUM_RUNS, "shares": SHARES}, runs=runs)
    print(shown(runs))


def _alike(runs: Runs, name: str, searcher: str, seed: int) -> list[float | None] | None:
    """What a searcher of full runs did on the same function: MFHartmann's kinds differ below the highest rung alone."""
    if name in BBOB or searcher in NEED_RUNGS:
        return None
    others = [runs[other].get(searcher, {}) for other in MFHARTMANN if other[:4] == name[:4] and other in runs]
    return next((of[str(seed)] for of in others if str(seed) in of), None)


def table(runs: Runs) -> list[dict[str, Any]]:
    """By task and searcher: medians at each share, of all seeds that were run."""
    return [
        {"task": name, "searcher": searcher, "seeds": len(of), "regret": medians(of)}
        for name, searchers in runs.items()
        for searcher, of in searchers.items()
        if of
    ]


def medians(of: Mapping[str, Sequence[float | None]]) -> list[float | None]:
    """At each share; no full run yet is worse than any, and None where that is the median."""
    found = [
        statistics.median(NONE_YET if regret is None else regret for regret in each)
        for each in zip(*of.values(), strict=True)
    ]
    return [None if each == NONE_YET else each for each in found]


def shown(runs: Runs) -> str:
    """The tables of Markdown that the documentation has; each searcher with how many seeds a task has at least."""
    lines = []
    for names in (MFHARTMANN, BBOB):
        there = [name for name in names if name in runs]
        if not there:
            continue
        lines += ["", "| searcher | seeds | " + " | ".join(there) + " |", "|---" * (len(there) + 2) + "|"]
        for searcher in (*OURS, *PEERS):
            found = [runs[name].get(searcher, {}) for name in there]
            if any(found):
                cells = [str(min(len(of) for of in found if of)), *map(_cell, found)]
                lines.append(f"| {searcher} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def paired(runs: Runs, searcher: str, peer: str) -> dict[str, list[float]]:
    """By task: the median over the seeds that both have of the differences of regret, below 0 where ours is nearer."""
    found = {}
    for name, searchers in runs.items():
        ours, theirs = searchers.get(searcher, {}), searchers.get(peer, {})
        both = [
            [a - b for a, b in zip(ours[seed], theirs[seed], strict=True) if a is not None and b is not None]
            for seed in ours.keys() & theirs.keys()
        ]
        whole = [each for each in both if len(each) == len(SHARES)]
        if whole:
            found[name] = [statistics.median(each) for each in zip(*whole, strict=True)]
    return found


def _cell(of: Mapping[str, Sequence[float | None]]) -> str:
    return " ".join("-" if each is None else f"{each:.2g}" for each in medians(of)) if of else "-"


def _kept(name: str) -> Runs:
    path = RESULTS / f"{name}.json"
    runs: Runs = json.loads(path.read_text())["runs"] if path.exists() else {}
    return runs


if __name__ == "__main__":
    main()
