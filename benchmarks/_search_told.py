"""What the search's benchmark found: the target, ratios with intervals, the parts of the gain."""

import math
import statistics
from typing import Any

import numpy as np

from benchmarks._record import Row, row

NUM_RANDOM, NUM_DRAWS = 20, 2000
OURS, PEERS = "luthier", ("gp", "tpe-hyperband")
NAMES = {"gp": "Optuna GP + Trainer", "tpe-hyperband": "Optuna TPE, Hyperband + Trainer"}
Raw = dict[str, Any]


def found_of(raw: Raw, prefix: str) -> list[dict[str, Any]]:
    """All figures under a prefix, by number."""
    keys = [key for key in raw if key.startswith(f"{prefix}/") and key.removeprefix(f"{prefix}/").isdigit()]
    return [raw[key] for key in sorted(keys, key=lambda key: int(key.rpartition("/")[2]))]


def target_of(raw: Raw, space: str) -> float:
    """The median of the least loss among 20 random settings, each the mean of both trainers'."""
    both = zip(found_of(raw, f"pool/{space}"), found_of(raw, f"same/{space}"), strict=True)
    losses = np.array([(one["loss"] + other["loss"]) / 2 for one, other in both])
    random, num = np.random.default_rng(0), min(NUM_RANDOM, len(losses))
    return float(np.median([random.permutation(losses)[:num].min() for _ in range(NUM_DRAWS)]))


def compared(raw: Raw, space: str) -> list[Row]:
    """Seconds to the target, of the clock and of the CPU; the sooner peer first; losses of the same settings."""
    sides = {side: found_of(raw, f"search/{space}/{side}") for side in (OURS, *PEERS)}
    num = min(len(each) for each in sides.values())
    if not num:
        return []
    cut = {side: each[:num] for side, each in sides.items()}
    order = sorted(PEERS, key=lambda side: middle(cut[side], "cpu_s"))
    made = [
        _against(cut[OURS], cut[peer], space, NAMES[peer], figure) for peer in order for figure in ("seconds", "cpu_s")
    ]
    pool = found_of(raw, f"pool/{space}")
    random = NUM_RANDOM * middle(pool, "cpu_s")
    ours = middle(cut[OURS], "cpu_s")
    made.append(
        row(f"{space}: CPU seconds, 20 random runs", ours, random, peer_name="Trainer", unit="s", better="lower")
    )
    return [*made, _same(raw, space)]


def searched(raw: Raw, space: str) -> dict[str, list[dict[str, Any]]]:
    """What every search took, by side and seed, without its jobs."""
    sides = {side: found_of(raw, f"search/{space}/{side}") for side in (OURS, *PEERS)}
    return {
        side: [{name: figure for name, figure in each.items() if name != "jobs"} for each in found]
        for side, found in sides.items()
    }


def _against(ours: list[Any], theirs: list[Any], space: str, name: str, figure: str) -> Row:
    """A ratio of medians, and the median over seeds of the paired ones, with its interval."""
    told = {"seconds": "seconds", "cpu_s": "CPU seconds"}[figure]
    pairs = [their[figure] / our[figure] for our, their in zip(ours, theirs, strict=True)]
    quality = (middle(ours, "best"), middle(theirs, "best"))
    figures = (middle(ours, figure), middle(theirs, figure))
    made = row(f"{space}: {told} to the target", *figures, peer_name=name, unit="s", better="lower", quality=quality)
    both = {"ours": ours, "peer": theirs}
    more = {
        f"{what}_{side}": middle(each, what)
        for side, each in both.items()
        for what in ("units", "trials", "deciding_s")
    }
    reached = {f"reached_{side}": sum(one["reached"] for one in each) for side, each in both.items()}
    least, most = interval(pairs)
    paired = {"ratio_paired": statistics.median(pairs), "ratio_least": least, "ratio_most": most}
    return {**made, **paired, "seeds": len(pairs), **reached, **more}


def _same(raw: Raw, space: str) -> Row:
    """The losses of both for the same settings, and what one full run costs."""
    ours = found_of(raw, f"same/{space}")
    theirs = found_of(raw, f"pool/{space}")
    quality = tuple(statistics.fmean(each["loss"] for each in side) for side in (ours, theirs))
    gaps = [one["loss"] - other["loss"] for one, other in zip(ours, theirs, strict=True)]
    figures = (middle(ours, "cpu_s"), middle(theirs, "cpu_s"))
    name, told = "Trainer", f"{space}: CPU seconds of a full run, the same settings"
    made = row(told, *figures, peer_name=name, unit="s", better="lower", quality=quality)
    gap = statistics.fmean(gaps)
    told = {"gap_of_loss": gap, "gap_error": statistics.stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else None}
    return {**made, **told, "parameters": [ours[0]["parameters"], theirs[0]["parameters"]]}


def parts(raw: Raw, space: str) -> list[Row]:
    """The same jobs with each part of the gain switched off, and the loop against the Trainer's."""
    made = []
    every = found_of(raw, f"replay/{space}/all")
    for variant in ("no resume", "no sharing", "no cache", "none"):
        without = found_of(raw, f"replay/{space}/{variant}")
        if not every or not without:
            continue
        name = f"Luthier, {variant}" if variant != "none" else "Luthier without all three"
        quality = (every[0]["loss"], without[0]["loss"])
        for figure, told in (("cpu_s", "CPU seconds"), ("seconds", "seconds")):
            figures = (middle(every, figure), middle(without, figure))
            what = f"{space}: {told} of 13 jobs"
            made.append(row(what, *figures, peer_name=name, unit="s", better="lower", quality=quality))
    loops = found_of(raw, f"loop/{space}")
    if loops:
        theirs = found_of(raw, f"pool/{space}")[: len(loops)]
        figures = (middle(loops, "steps_per_cpu_s"), middle(theirs, "steps_per_cpu_s"))
        what = f"{space}: steps a CPU second, nothing kept"
        made.append(row(what, *figures, peer_name="Trainer", unit="steps/s", better="higher"))
    return made


def interval(figures: list[float]) -> tuple[float, float]:
    """The narrowest pair of order statistics that holds the median with 93 %: of five seeds the least and the most."""
    num, order = len(figures), sorted(figures)
    outside, left = 1, 0
    while 2 * (outside + math.comb(num, left + 1)) <= 0.07 * 2**num:
        left += 1
        outside += math.comb(num, left)
    return order[left], order[num - 1 - left]


def middle(found: list[Any], figure: str) -> float:
    """The median."""
    return float(statistics.median(each[figure] for each in found))
