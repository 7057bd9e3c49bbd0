"""One side of a comparison, once, in a process of its own; sides take turns, round by round.

A benchmark's module has a function `one(asked) -> figures`. A process each makes peak memory a side's own, and keeps
what one side patches from the other. Each round begins with another side, so that a slow spell of the machine hits
all of them; a figure is the median over the rounds.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from importlib import import_module
from typing import Any

from benchmarks._record import Row, row

Asked = dict[str, Any]
Found = dict[str, float]
Results = dict[tuple[str, str], list[Found]]
"""What each side of each case found, round by round."""
OURS = "luthier"
"""The side that the others are compared with."""
SPEED = (("tokens_per_s", "tokens/s", "higher"), ("seconds", "s", "lower"), ("peak_mib", "MiB", "lower"))
"""Figures that are compared: name, unit, and which is better."""


class SideFailed(RuntimeError):
    """A side ended without figures; the message is the end of what it said."""


class Budget:
    """The time that a benchmark may take."""

    def __init__(self, minutes: float) -> None:
        self.ends = time.monotonic() + 60 * minutes

    @property
    def left_s(self) -> float:
        return max(0.0, self.ends - time.monotonic())


def parser(description: str | None, *, name: str, rows: int, rounds: int, minutes: float) -> argparse.ArgumentParser:
    """The arguments that every comparison has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rows", type=int, default=rows, help=f"training rows ({rows})")
    made.add_argument("--seeds", type=int, default=rounds, help=f"rounds at most, a seed each ({rounds})")
    made.add_argument(
        "--minutes", type=float, default=minutes, help=f"no further round begins that would end later ({minutes})"
    )
    made.add_argument("--name", default=name, help="of the file in benchmarks/results")
    return made


def once(module: str, asked: Asked, *, seconds: float | None = None) -> Found:
    """The figures of `module.one(asked)`, from a process of its own.

    Raises SideFailed where it fails or takes longer than `seconds`.
    """
    return _run(module, [asked], seconds)[0]


def alternate(
    module: str,
    cases: Mapping[str, Mapping[str, Asked]],
    *,
    rounds: int,
    budget: Budget,
    only_first: Collection[str] = (),
) -> Results:
    """Every side of every case, round by round, as long as a whole round fits into what is left of the time.

    Sides in `only_first` are slow and run in the first round alone.
    """
    results: Results = {}
    for number in range(rounds):
        began = time.monotonic()
        for case, sides in cases.items():
            for side in _turns(list(sides), number):
                if number and side in only_first:
                    continue
                found = once(module, {**sides[side], "seed": number})
                results.setdefault((case, side), []).append(found)
                tell(f"{case}, round {number}, {side}", found)
        if number + 1 < rounds and budget.left_s < time.monotonic() - began:
            print(f"{number + 1} of {rounds} rounds done; another one would not end in time (--minutes)", flush=True)
            break
    return results


def fastest(module: str, kinds: Sequence[Asked], *, told: str) -> Asked:
    """Of several ways to run one side, the one that a short run of each, in one process, finds fastest."""
    found = _run(module, kinds, None)
    for kind, figures in zip(kinds, found, strict=True):
        tell(f"{told}, to choose: {_short(kind)}", figures)
    speeds = [figures["tokens_per_s"] for figures in found]
    return kinds[speeds.index(max(speeds))]


def compare(
    results: Results,
    case: str,
    side: str,
    *,
    what: str,
    peer_name: str,
    quality: str,
    figures: Collection[tuple[str, str, str]] = SPEED,
) -> list[Row]:
    """Rows of Luthier against a side; `quality` is the figure of both that must not be paid for them."""
    both = median(results, case, OURS, quality), median(results, case, side, quality)
    rows = []
    for figure, unit, better in figures:
        ours, theirs = median(results, case, OURS, figure), median(results, case, side, figure)
        told = {"peer_name": peer_name, "unit": unit, "better": better, "quality": both}
        rows.append(row(f"{what}: {figure}", ours, theirs, **told))
    return rows


def over_floor(results: Results, case: str, side: str, *, what: str, peer_name: str) -> Row:
    """Time over that of the needed products alone, of Luthier and of a side."""
    floor = median(results, case, OURS, "floor_s")
    ours, theirs = (median(results, case, each, "seconds") / floor for each in (OURS, side))
    return row(f"{what}: time over floor", ours, theirs, peer_name=peer_name, unit="x", better="lower")


def median(results: Results, case: str, side: str, figure: str) -> float:
    """Over the rounds."""
    return statistics.median(found[figure] for found in results[case, side])


def tell(what: str, found: Found) -> None:
    """A line on the screen, as soon as figures are there."""
    print(f"{what}: " + ", ".join(f"{key} {value:,.4g}" for key, value in found.items()), flush=True)


def _run(module: str, asked: Sequence[Asked], seconds: float | None) -> list[Found]:
    """The figures of several calls, made one after the other in a process of its own."""
    command = [sys.executable, "-m", "benchmarks._rounds", module, json.dumps(asked)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise SideFailed(f"not done after {seconds:.0f} s") from None
    if done.returncode != 0:
        raise SideFailed(done.stderr[-2000:])
    found: list[Found] = json.loads(done.stdout.splitlines()[-1])
    return found


def _turns(sides: list[str], number: int) -> list[str]:
    start = number % len(sides)
    return sides[start:] + sides[:start]


def _short(kind: Asked) -> str:
    return ", ".join(f"{key} {value}" for key, value in kind.items() if isinstance(value, str | int | bool))


if __name__ == "__main__":
    one = import_module(sys.argv[1]).one
    print(json.dumps([one(each) for each in json.loads(sys.argv[2])]))
